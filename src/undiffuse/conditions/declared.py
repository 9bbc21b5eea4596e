"""Conditions as a recipe declares them and as they stand in data, to what training and sampling tell a network."""

import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import as_float
from undiffuse.codecs.whiten import Whiten
from undiffuse.conditions.captions import Captions
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.settings import Condition

NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")  # of a condition, which is also an argument's name
ASKED = (  # arguments of a model's `sample`
    *("n", "seed", "sampler", "steps", "grid", "guidance", "batch", "indices", "progress", "interval", "rescale"),
    *("threshold", "temperature", "top_k", "top_p", "classifier", "form", "control", "control_weight"),
)
TAKEN = {*ASKED, "x_t", "t", "x", "c_time", "drop", "random", "self", "of"}  # by these and by those of denoisers
KINDS = {"label": "classes", "vector": "(count, d)", "text": "texts", "image": "(count, channels, height, width)"}


def predicts(kind: str, name: str) -> str:
    """What a network gives, or what an objective trains one to give: data, unless its class says otherwise."""
    component: Any = registry.get(kind, name)
    return getattr(component, "predicts", "data")


def conditions(recipe: Recipe) -> dict[str, Condition]:
    """The [conditions.*] tables by name; raises Refused for other tables, names that are taken, and wrong kinds."""
    found: dict[str, Condition] = {}
    for name, fields in recipe["conditions"].items():
        if not isinstance(fields, Mapping):
            raise Refused(f"conditions.{name} is a table: write [conditions.{name}] and its fields below")
        if not NAME.fullmatch(name) or name in TAKEN or keyword.iskeyword(name):
            raise Refused(f"a condition cannot be called {name[:80]!r}: write small letters, no word of `sample`")
        found[name] = Condition(**registry.check(Condition, fields, owner=f"conditions.{name}"))
        if (found[name].kind == "label") != (name == "label"):
            kinds = "label" if name == "label" else "vector, text or image"
            raise Refused(f"conditions.{name}.kind = {found[name].kind!r}: it must be {kinds}")
    return found


def refuse_deaf(recipe: Recipe, told: Mapping[str, Condition], shape: tuple[int, ...] = ()) -> None:
    """Raises Refused for conditions that the recipe's network has no way to take, naming networks that have, and for
    images with other axes than samples of this shape.
    """
    name = str(recipe["network"].get("name"))
    for key, condition in told.items():
        field = "classes" if condition.kind == "label" else "conditions"
        able = [n for n in registry.names("networks") if field in registry.fields(registry.get("networks", n))]
        able = [n for n in able if predicts("networks", n) == predicts("networks", name)]
        if registry.get("networks", name) not in [registry.get("networks", n) for n in able]:
            raise Refused(
                f"network {name!r} cannot take {key!r}, which is {condition.kind}; networks for it: {', '.join(able)}"
            )
        if condition.kind == "image" and shape and len(condition.shape) != len(shape):
            raise Refused(f"{key!r} stands beside samples of shape {shape}: an image of shape {condition.shape} cannot")


def fitted(conditions: Mapping[str, Condition], data: Mapping[str, Any], name: str) -> dict[str, Condition]:
    """The conditions with the shapes that the data give them, and vectors and 16-bit images with their moments; name:
    what the data are called.

    Raises Refused for a condition that the data do not have, or have as another kind, and for a field set by hand that
    the data say.
    """
    found: dict[str, Condition] = {}
    for key, condition in conditions.items():
        if key not in data:
            there = ", ".join(data) or "none"
            raise Refused(
                f"conditions.{key}: the data {name!r} has no {key!r} (conditions there: {there}); "
                f"remove [conditions.{key}]"
            )
        shape, values = _shape(key, condition, data[key], name), data[key]
        said = {"shape": shape}
        if condition.kind == "image":
            said |= {"dtype": values.dtype.name}
        if condition.kind == "vector":
            moments = Whiten().fit(values)
            said |= {"mean": moments.mean, "std": moments.std}
        elif condition.kind == "image" and _deep(values):
            low, high = int(values.min()), int(values.max())
            said |= {"mean": ((low + high) / 2,), "std": (((high - low) or 2) / 2,)}
        for field, value in said.items():
            if getattr(condition, field) not in ((), "", value):
                raise Refused(f"conditions.{key}.{field} cannot be set: the data say it; leave it out")
        found[key] = replace(condition, **said)
    return found


def standardised(condition: Condition, vectors: np.ndarray | Tensor) -> Tensor:
    """Vectors (count, d), each number with mean 0 and deviation 1 over the training data; a constant one is only moved.

    Float32, and as they are where no moments are known.
    """
    return Whiten(condition.mean, condition.std).encode(vectors) if condition.mean else as_float(vectors)


def pictured(condition: Condition, images: np.ndarray) -> Tensor:
    """Images as a network takes them: 16-bit ones in [-1, 1] where their range is known, others as they are."""
    if not (condition.mean and _deep(images)):
        return tensor(images)
    return (as_float(images) - condition.mean[0]) / condition.std[0]


def tensors(conditions: Mapping[str, Condition], data: Mapping[str, Any]) -> dict[str, Any]:
    """The values of each condition, (count, ...), as a network is told them: a tensor, or Captions, indexed alike."""
    reading: dict[str, Callable[[Condition, Any], Any]] = {
        "text": lambda condition, values: Captions.of(values, condition),
        "vector": standardised,
        "image": pictured,
    }
    return {
        key: reading.get(condition.kind, lambda condition, values: tensor(values))(condition, data[key])
        for key, condition in conditions.items()
    }


def known(conditions: Mapping[str, Condition], data: Mapping[str, Any]) -> dict[str, Any]:
    """`tensors` of those conditions that the data have; data from elsewhere may lack some."""
    return tensors({key: condition for key, condition in conditions.items() if key in data}, data)


def examples(conditions: Mapping[str, Condition], data: Mapping[str, Any], count: int) -> dict[str, Any]:
    """What `Generator.sample` is told of so many items besides their labels: those that there are, in turn."""
    return {
        key: data[key][np.arange(count) % len(data[key])]
        for key, condition in conditions.items()
        if condition.kind != "label" and key in data
    }


def tensor(x: np.ndarray) -> Tensor:
    """The array as a tensor that can be indexed: unsigned 16-bit integers become 32-bit ones."""
    return torch.from_numpy(x.astype(np.int32) if x.dtype == np.uint16 else np.ascontiguousarray(x))


def _deep(images: np.ndarray) -> bool:
    return images.dtype.kind in "iu" and images.dtype.itemsize == 2


def _shape(key: str, condition: Condition, values: Any, name: str) -> tuple[int, ...]:
    dtype, axes = np.dtype(values.dtype), values.ndim - 1
    fits = {
        "label": axes == 0 and dtype.kind == "i",
        "vector": axes == 1 and dtype.kind == "f",
        "text": axes == 0 and dtype.kind == "U",
        "image": axes in (2, 3, 4) and (dtype.kind in "uf" or dtype == np.int16),
    }
    if not fits[condition.kind]:
        raise Refused(
            f"conditions.{key}.kind = {condition.kind!r} needs {KINDS[condition.kind]}, and the data {name!r} have "
            f"{key!r} of shape {tuple(values.shape)} and dtype {dtype}"
        )
    if condition.kind == "text":
        return Captions.of([str(values[0])], condition).shape[1:]
    return tuple(int(side) for side in values.shape[1:])
