"""The data of a recipe or a run, with the conditions that are made of the items themselves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.declared import declared
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import MISSING, Dataset
from undiffuse.data.decoded_cache import Decoded, find, load_items, place, remember
from undiffuse.data.paths import is_there, located
from undiffuse.data.predictive import of_targets
from undiffuse.data.survey import Survey
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.run import Run

WORDS = {(2,): "point clouds", (3,): "pictures", (4,): "videos", (3, 4): "pictures and videos"}  # by the axes of items


def of_recipe(recipe: Recipe) -> Dataset:
    """The data of a recipe, with the conditions that its [conditions.*] tables make of them.

    Those of a run are looked for beside it where they are not where they were.
    """
    recipe = located(recipe)
    try:
        loaded = recipe.component("data").load()
    except Refused as error:
        if recipe.home is None or is_there(str(recipe["data"].get("path", recipe.home))):
            raise
        raise Refused(f"{error}\nIf the data of {recipe.home} have moved, say where they are: --data DATA") from None
    codec: Any = registry.get("codecs", recipe["codec"]["name"])
    if codec.embeds:
        loaded = embedded(loaded, recipe.component("codec"))
    return derived(loaded, declared(recipe["conditions"], recipe.uses.of))


def of_model(model: Run) -> Dataset:
    """The data that a run was trained on, with the classes counted as the run knows them; raises Refused, by name, if
    the data have others.
    """
    data = of_recipe(model.recipe)
    if "label" not in model.conditions or data.classes == model.classes:
        return data
    if new := [name for name in data.classes if name not in model.classes]:
        raise Refused(
            f"{data.name} has the classes {', '.join(new[:5])}, and the run knows {', '.join(model.classes[:12])}: "
            "say where the data are that it was trained on: --data DATA"
        )
    return renumber(data, model.classes)


def renumber(data: Dataset, classes: tuple[str, ...]) -> Dataset:
    """The data with its labels counted as in `classes`; without labels if one of its classes is none of them."""
    others = {name: values for name, values in data.conditions.items() if name != "label"}
    if data.labels is None or not set(data.classes) <= set(classes):
        return replace(data, conditions=others, classes=())
    places = np.array([classes.index(name) for name in data.classes])
    return replace(data, conditions={**others, "label": places[data.labels]}, classes=classes)


def derived(data: Dataset, conditions: Mapping[str, ConditionKind]) -> Dataset:
    """The data with each condition that says how it is made of the items, in their dtype and units, in memory; with
    the items as a condition themselves, where one says so, and their targets in their place.

    Raises Refused for words and numbers that make nothing, and for items that are no pictures.
    """
    for name, condition in conditions.items():
        data = of_targets(data, name) if condition.of_item else data
    makers = {name: make for name, condition in conditions.items() if (make := condition.derivation(name))}
    if not makers:
        return data
    for name in makers:
        if data.vocabulary or data.x.ndim - 1 not in conditions[name].items:
            what = WORDS.get(conditions[name].items, "series and pictures")
            raise Refused(f"conditions.{name} is made of {what}, and {data.name} has {data.kind}")
    white, missing = _white(data), data.conditions.get(MISSING)
    made = {
        name: _kept(
            conditions[name].stamp,
            data,
            partial(make, data.x, white, missing, **_read(data, conditions, conditions[name].reads)),
        )
        for name, make in makers.items()
    }
    return replace(data, conditions=data.conditions | made)


def _read(data: Dataset, conditions: Mapping[str, ConditionKind], names: Sequence[str]) -> dict[str, Any]:
    """The values of these conditions as networks take them; raises Refused for one that is no embedded text."""
    for name in names:
        if name not in conditions or name not in data.conditions or not conditions[name].space:
            raise Refused(
                f"a similarity is to a text that a run of kind clip embeds: write [conditions.{name}] with kind = "
                "'prompt', and name such a run as its encoder"
            )
    return {name: conditions[name].encode(data.conditions[name]) for name in names}


def embedded(data: Dataset, codec: Codec) -> Dataset:
    """The data with the vectors of the items in their place; what is held out is decided by the items."""
    x = _kept(codec.space, data, lambda: codec.vectors(np.asarray(data.x[:])))
    seen = Survey(x, data.survey().hashes, x.min(1), x.max(1))
    return replace(data, x=x, columns=(), categories=(), names=(), known=seen)


def _kept(stamp: str, data: Dataset, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What is made of the items; where it has a stamp, it is made once and kept under UNDIFFUSE_CACHE."""
    if not stamp:
        return make()
    digest = blake2b(data.survey().hashes.astype("<u8").tobytes(), digest_size=16).hexdigest()
    there = place(("derived", stamp, digest, data.shape, str(data.x.dtype)), [])
    return np.asarray(load_items(there, find(there) or remember(there, Decoded(make())))[:])


def _white(data: Dataset) -> float:
    """What is white: 255 of 8 bit, 1 of floats, else the greatest number of as many bits as are used, such as 4095."""
    if data.x.dtype.kind not in "iu":
        return 1.0
    return float(2 ** max(8, int(data.survey().high.max()).bit_length()) - 1)
