"""Conditions as a person gives them, turned into tensors."""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.conditions.captions import Captions
from undiffuse.conditions.declared import ASKED, pictured, standardised
from undiffuse.core import arguments
from undiffuse.core.arguments import shown
from undiffuse.core.errors import Refused, near, unknown
from undiffuse.networks.conditions import MODES, scaled
from undiffuse.recipes.settings import Condition

if TYPE_CHECKING:
    from undiffuse.sampling.generator import Generator

NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]+")  # what a class may be called


def requested(model: "Generator", n: int, cond: Mapping[str, Any]) -> dict[str, Tensor]:
    """The conditions of n samples, each a tensor (n, ...) on the model's device; those given as None are left out.

    Raises Refused for a condition that the model was not trained with, for one that it cannot do without, and for
    unknown classes and values of another shape.
    """
    given: dict[str, Tensor] = {}
    for name, value in cond.items():
        if value is None:
            continue
        if not model.conditions and name not in model.conditions and not near(name, ASKED):
            raise Refused(
                f"the model is unconditional: it was trained without {name!r} (its recipe has no [conditions.{name}])"
            )
        if name not in model.conditions:
            raise unknown("the model's conditions", name, model.conditions, ASKED)
        given[name] = _values(model, name, value, n).to(model.device)
    for name, condition in model.conditions.items():
        if name not in given and condition.drop == 0:
            raise Refused(f"the model needs {name!r}: it was trained with it always there (conditions.{name}.drop = 0)")
    return given


def numbers(value: Any, n: int, classes: Sequence[str], name: str) -> list[int]:
    """n places among the classes from one class or from n of them, by name: 1 is the class "1", as it is when typed.

    Only where no class is called by a number, a number is a place, counted from 0.
    Raises Refused for another count and for classes that there are not.
    """
    values: Any = value.tolist() if hasattr(value, "tolist") else value
    values = list(values) if isinstance(values, Sequence) and not isinstance(values, str | bytes) else [values] * n
    values = [v.item() if hasattr(v, "item") else v for v in values]  # a list of NumPy's numbers
    if any(isinstance(v, Sequence | Mapping | Set) and not isinstance(v, str | bytes) for v in values):
        raise Refused(f"{name} is one class, or {n} of them in a row, not {shown(value)}")
    if len(values) != n:
        raise Refused(f"{n} samples need one {name} or {n}, not {len(values)}")
    known = {normalize("NFC", text): i for i, text in enumerate(classes)}
    if not any(NUMBER.fullmatch(text) for text in classes):
        known = {str(i): i for i in range(len(classes))} | known
    words = [normalize("NFC", str(v)) if isinstance(v, str | int) else None for v in values]
    wrong = next((v for v, word in zip(values, words, strict=True) if word not in known), None)
    if None in words or wrong is not None:
        there = ", ".join(classes[:12]) + (" ..." if len(classes) > 12 else "")
        hint = near(wrong, classes) if isinstance(wrong, str) else ""
        raise Refused(f"{name} {wrong} is not one of the model's {len(classes)} classes{hint}: {there}")
    return [known[str(word)] for word in words]


def captions(conditions: Mapping[str, Condition], cond: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts that samples are told: one for all of them, or one of each; () for none."""
    for name, condition in conditions.items():
        if condition.kind == "text" and cond.get(name) is not None:
            value = cond[name]
            return (value,) if isinstance(value, str) else tuple(map(str, value))
    return ()


def _values(model: "Generator", name: str, value: Any, n: int) -> Tensor:
    """n values of a condition from one or from n of them, (n, ...)."""
    condition = model.conditions[name]
    return READ[condition.kind](model, name, condition, value, n)


def _label(model: "Generator", name: str, condition: Condition, value: Any, n: int) -> Tensor:
    return torch.tensor(numbers(value, n, model.classes, name), dtype=torch.int64)


def _text(model: "Generator", name: str, condition: Condition, value: Any, n: int) -> Tensor:
    values = value.tolist() if isinstance(value, np.ndarray) else value
    texts = [values] if isinstance(values, str) or not isinstance(values, Sequence) else list(values)
    texts = [arguments.text(text, name) for text in texts]
    _refuse_count(len(texts), n, name)
    return _each(Captions.of(texts, condition)[torch.arange(len(texts))], n, name)


def _vector(model: "Generator", name: str, condition: Condition, value: Any, n: int) -> Tensor:
    rows = arguments.array(value, name).astype(np.float32)
    rows = rows if rows.ndim > 1 else rows.reshape(1, -1)
    if rows.shape[1:] != condition.shape:
        given = rows.shape[1] if rows.ndim == 2 else f"an array of shape {rows.shape}"
        raise Refused(f"{name} has {condition.shape[0]} numbers, and given are {given}")
    return _each(standardised(condition, rows), n, name)


def _image(model: "Generator", name: str, condition: Condition, value: Any, n: int) -> Tensor:
    """Integers are scaled, and all is brought to the size that the condition had in training."""
    given = _alike(arguments.array(value, name), condition.dtype, name)
    images = scaled(pictured(condition, given))
    axes, (channels, *sides) = len(condition.shape), condition.shape
    images = images[None] if images.ndim == axes - 1 else images  # a grey image without its one channel
    images = images[None] if images.ndim == axes else images
    if images.ndim != axes + 1 or images.shape[1] != channels:
        raise Refused(f"{name} is an image of shape {condition.shape}, of any size; given is {given.shape}")
    if list(images.shape[2:]) != sides:
        smooth = {"align_corners": False, "antialias": True} if axes == 3 else {"align_corners": False}
        images = F.interpolate(images.float(), sides, mode=MODES[axes - 1], **smooth)
    return _each(images.float(), n, name)


def _alike(image: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """The image as the network knows such, which it was trained on in this dtype ("": it is not known).

    Raises Refused for numbers where it knows levels, and for levels where it knows numbers: their scales differ.
    """
    levels = image.dtype.kind in "ui"
    if dtype and levels != (np.dtype(dtype).kind in "ui"):
        raise Refused(f"{name} was {dtype} in the training data, and given is {image.dtype}: give it as {dtype}")
    if not levels or image.dtype.name in ("uint8", "uint16", "int16"):
        return image.astype(np.float32) if image.dtype.kind in "bf" else image
    wanted = dtype or "uint8"
    known = np.iinfo(wanted)
    if image.size and not known.min <= int(image.min()) <= int(image.max()) <= known.max:
        raise Refused(f"{name} is {wanted}, {known.min} to {known.max}, and has {image.min()} to {image.max()}")
    return image.astype(wanted)


READ: dict[str, Callable[["Generator", str, Condition, Any, int], Tensor]] = {
    "label": _label,
    "text": _text,
    "vector": _vector,
    "image": _image,
}


def _each(values: Tensor, n: int, name: str) -> Tensor:
    """n values from one or n; raises Refused for another count."""
    _refuse_count(len(values), n, name)
    return values.expand(n, *values.shape[1:])


def _refuse_count(count: int, n: int, name: str) -> None:
    if count not in (1, n):
        raise Refused(f"{n} samples need one {name} or {n}, not {count}")
