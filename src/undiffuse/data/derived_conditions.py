"""Conditions that are made of the items themselves: a picture made small, grey or coarse, or with a hole in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.declared import conditions
from undiffuse.core.errors import Refused, unknown
from undiffuse.data.dataset import Dataset
from undiffuse.data.paths import is_there, located
from undiffuse.operators.blur import Blur
from undiffuse.operators.grey import Grey
from undiffuse.operators.pool import Pool
from undiffuse.progress import progress_bar
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.settings import Condition
from undiffuse.sampling.run import Run

BLOCK = 1024  # pictures
Make = Callable[[Tensor, np.ndarray], Tensor]  # pictures (k, channels, height, width) and which they are -> (k, ...)


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
    return derived(loaded, conditions(recipe))


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


def derived(data: Dataset, told: Mapping[str, Condition]) -> Dataset:
    """The data with each condition that says `of` what it is made, in the items' dtype and units, in memory.

    of: superresolve:FACTOR, blur:STD, grey, layout:FACTOR:LEVELS (blocks, with so many grey levels from the darkest to
    the brightest), or hole:SIDE (a square of the item's own place and one channel more, which is 0 in it).
    Raises Refused for another word, for numbers that do not fit, and for items that are no pictures.
    """
    made = {name: condition.of for name, condition in told.items() if condition.of}
    if not made:
        return data
    if not data.is_image:
        raise Refused(f"conditions.{next(iter(made))}.of is made of pictures, and {data.name} has {data.kind}")
    return replace(data, conditions={**data.conditions, **{name: _made(data, name, of) for name, of in made.items()}})


def _made(data: Dataset, name: str, of: str) -> np.ndarray:
    kind, *words = of.split(":")
    if kind not in MAKERS:
        raise unknown(f"conditions.{name}.of", kind, MAKERS)
    maker, usage = MAKERS[kind]
    try:
        make = maker(*map(float, words))
    except (TypeError, ValueError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"conditions.{name}.of = {of!r}: write {usage}") from None
    whole, white = data.x.dtype.kind in "iu", _white(data)
    parts: list[np.ndarray] = []
    for start in progress_bar(range(0, len(data), BLOCK), desc=f"making {name}", unit="block", delay=2, leave=False):
        which = np.arange(start, min(start + BLOCK, len(data)))
        part = make(torch.from_numpy(data.x[which].astype(np.float32)) / white, which).numpy() * white
        parts.append((part.round() if whole else part).astype(data.x.dtype))
    return np.concatenate(parts)


def _white(data: Dataset) -> float:
    """What is white: 255 of 8 bit, 1 of floats, else the greatest number of as many bits as are used, such as 4095."""
    if data.x.dtype.kind not in "iu":
        return 1.0
    return float(2 ** max(8, int(data.survey().high.max()).bit_length()) - 1)


def _superresolve(factor: float) -> Make:
    pool = Pool(_whole(factor))
    return lambda x, which: pool(x)


def _blur(std: float) -> Make:
    blur = Blur(std)
    return lambda x, which: blur(x)


def _grey() -> Make:
    return lambda x, which: Grey()(x)


@dataclass(frozen=True)
class _Layout:
    """Blocks of factor x factor, each as one of `levels` grey levels."""

    factor: int
    levels: int

    def __call__(self, x: Tensor, which: np.ndarray) -> Tensor:
        steps = self.levels - 1
        return (Pool(self.factor)(Grey()(x)).clamp(0, 1) * steps).round() / steps


@dataclass(frozen=True)
class _Hole:
    """A square of `side` that is black, at a place that the picture's number fixes, and where it is not."""

    side: int

    def __call__(self, x: Tensor, which: np.ndarray) -> Tensor:
        height, width = x.shape[-2:]
        if not 0 < self.side < min(height, width):
            raise Refused(f"a hole of {self.side} does not fit pictures of {height} x {width}")
        known = torch.ones_like(x[:, :1])
        for picture, number in zip(known, which.tolist(), strict=True):
            place = np.random.Generator(np.random.Philox(key=number))
            top, left = place.integers(height - self.side + 1), place.integers(width - self.side + 1)
            picture[:, top : top + self.side, left : left + self.side] = 0
        return torch.cat([x * known, known], dim=1)


def _layout(factor: float, levels: float) -> Make:
    if _whole(levels) < 2:
        raise Refused(f"a layout has 2 grey levels or more, not {levels:g}")
    return _Layout(_whole(factor), _whole(levels))


def _hole(side: float) -> Make:
    return _Hole(_whole(side))


def _whole(number: float) -> int:
    if number != int(number):
        raise ValueError
    return int(number)


MAKERS: dict[str, tuple[Callable[..., Make], str]] = {
    "superresolve": (_superresolve, "superresolve:FACTOR, such as superresolve:4"),
    "blur": (_blur, "blur:STD in pixels, such as blur:1.5"),
    "grey": (_grey, "grey, without a number"),
    "layout": (_layout, "layout:FACTOR:LEVELS, such as layout:4:4"),
    "hole": (_hole, "hole:SIDE in pixels, such as hole:12"),
}
