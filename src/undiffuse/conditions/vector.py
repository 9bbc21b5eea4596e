"""A vector: a few numbers, such as a style, a measurement or a position."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.codecs.codec import as_float
from undiffuse.codecs.whiten import Whiten
from undiffuse.conditions.condition_kind import ConditionKind, Derive, Form, from_data
from undiffuse.conditions.values import expanded
from undiffuse.core import arguments
from undiffuse.core.errors import Refused

ITEM, SIMILARITY = "item", "similarity:"


@dataclass(frozen=True)
class VectorCondition(ConditionKind):
    """Numbers, each standardised by its mean and standard deviation over the training data; a constant one is only
    moved.

    of: "item": the numbers of the item itself, row or image, and what is modelled is the item's target, or of its class
    one number a class, 1 or 0; "similarity:NAME": of vectors of a pair of encoders, the dot product of the item and of
    the text of this name (arXiv:2204.06125, sec. 2.2). mean, std: of each number; the data decide them.
    """

    of: str = ""
    mean: tuple[float, ...] = from_data()
    std: tuple[float, ...] = from_data()

    form: ClassVar[Form] = "vector"
    axes: ClassVar[tuple[int, ...]] = (1,)
    needs: ClassVar[str] = "(count, d)"
    metavar: ClassVar[str] = "A,B,C"
    help: ClassVar[str] = "Numbers, of a model that takes some."
    predicted: ClassVar[bool] = True
    items: ClassVar[tuple[int, ...]] = (1,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of not in ("", ITEM) and not self.reads:
            raise Refused(f"of = {self.of[:40]!r}: a vector is of the {ITEM!r}, or {SIMILARITY!r} and a text's name")
        refuse_moments(self.mean, self.std, self.shape)

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim == 2 and values.dtype.kind == "f"

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        moments = Whiten().fit(values)
        return replace(self, shape=tuple(values.shape[1:]), mean=moments.mean, std=moments.std)

    def encode(self, values: np.ndarray) -> Tensor:
        return Whiten(self.mean, self.std).encode(values) if self.mean else as_float(values)

    def given(self, value: Any, n: int, name: str) -> Tensor:
        return expanded(self.encode(numbers(value, self.shape, name)), n, name)

    def from_word(self, word: str, name: str) -> Any:
        return numbers_of(word, self.shape, name)

    def decode(self, outputs: Tensor) -> Tensor:
        exact = outputs.double()  # of numbers far from 0 float32 would lose what tells them apart
        return exact * exact.new_tensor(self.std) + exact.new_tensor(self.mean)

    @property
    def of_item(self) -> bool:
        return self.of == ITEM

    @property
    def reads(self) -> tuple[str, ...]:
        name = self.of.removeprefix(SIMILARITY)
        return (name,) if self.of != name and name else ()

    def derivation(self, name: str) -> Derive | None:
        return partial(_similarity, self.reads[0]) if self.reads else None

    def summary(self) -> str:
        if self.reads:
            return f"the dot product of the item and {self.reads[0]!r}"
        return f"{self.shape[0] if self.shape else 0} numbers{' of the item itself' * self.of_item}"


def numbers(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A person's numbers, one row for all samples or one each, (rows, *shape); raises Refused for another count."""
    rows = arguments.array(value, name)
    rows = rows if rows.dtype == np.float64 else rows.astype(np.float32)
    rows = rows if rows.ndim > 1 else rows.reshape(1, -1)
    if rows.shape[1:] != shape:
        found = rows.shape[1] if rows.ndim == 2 else f"an array of shape {rows.shape}"
        raise Refused(f"{name} has {shape[0]} numbers, and given are {found}")
    return rows


def numbers_of(word: str, shape: tuple[int, ...], name: str) -> list[float]:
    """The numbers of a word such as "1,2.5"; raises Refused for others."""
    try:
        return [float(number) for number in word.split(",")]
    except ValueError:
        raise Refused(f"{name} = {word!r}: write {shape[0]} numbers with commas between them") from None


def _similarity(text: str, x: Any, white: float, missing: Any = None, /, **beside: Any) -> np.ndarray:
    """(count, 1): the dot products of unit vectors x (count, d) and of the texts', which stand in their last rows."""
    told = beside[text][torch.arange(len(x))][:, -1, : x.shape[1]]
    rows = torch.from_numpy(np.asarray(x[:], np.float32))
    return (rows * F.normalize(told.float(), dim=1)).sum(1, keepdim=True).numpy()


def refuse_moments(mean: tuple[float, ...], std: tuple[float, ...], shape: tuple[int, ...]) -> None:
    """Raises Refused unless there are finite moments of this shape, with a std above 0, or none."""
    moments = mean + std
    if moments and (not shape == (len(mean),) == (len(std),) or not all(map(math.isfinite, moments)) or min(std) <= 0):
        raise Refused("a condition has a mean and a std above 0 for each of its numbers, or none")
