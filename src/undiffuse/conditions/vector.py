"""A vector: a few numbers, such as a style, a measurement or a position."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from torch import Tensor

from undiffuse.codecs.codec import as_float
from undiffuse.codecs.whiten import Whiten
from undiffuse.conditions.condition_kind import ConditionKind, Form, from_data
from undiffuse.conditions.values import expanded
from undiffuse.core import arguments
from undiffuse.core.errors import Refused


@dataclass(frozen=True)
class VectorCondition(ConditionKind):
    """Numbers, each standardised by its mean and standard deviation over the training data; a constant one is only
    moved.

    of: "item": the numbers of the item itself, row or image, and what is modelled is the item's target, or of its class
    one number a class, 1 or 0. mean, std: of each number; the data decide them.
    """

    of: Literal["", "item"] = ""
    mean: tuple[float, ...] = from_data()
    std: tuple[float, ...] = from_data()

    form: ClassVar[Form] = "vector"
    axes: ClassVar[tuple[int, ...]] = (1,)
    needs: ClassVar[str] = "(count, d)"
    metavar: ClassVar[str] = "A,B,C"
    help: ClassVar[str] = "Numbers, of a model that takes some."
    predicted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_moments(self.mean, self.std, self.shape)

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim == 2 and values.dtype.kind == "f"

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        moments = Whiten().fit(values)
        return replace(self, shape=tuple(values.shape[1:]), mean=moments.mean, std=moments.std)

    def encode(self, values: np.ndarray) -> Tensor:
        return Whiten(self.mean, self.std).encode(values) if self.mean else as_float(values)

    def given(self, value: Any, n: int, name: str) -> Tensor:
        rows = arguments.array(value, name).astype(np.float32)
        rows = rows if rows.ndim > 1 else rows.reshape(1, -1)
        if rows.shape[1:] != self.shape:
            found = rows.shape[1] if rows.ndim == 2 else f"an array of shape {rows.shape}"
            raise Refused(f"{name} has {self.shape[0]} numbers, and given are {found}")
        return expanded(self.encode(rows), n, name)

    def from_word(self, word: str, name: str) -> Any:
        try:
            return [float(number) for number in word.split(",")]
        except ValueError:
            raise Refused(f"{name} = {word!r}: write {self.shape[0]} numbers with commas between them") from None

    def decode(self, outputs: Tensor) -> Tensor:
        return outputs * outputs.new_tensor(self.std) + outputs.new_tensor(self.mean)

    @property
    def of_item(self) -> bool:
        return bool(self.of)

    def summary(self) -> str:
        return f"{self.shape[0] if self.shape else 0} numbers{' of the item itself' * self.of_item}"


def refuse_moments(mean: tuple[float, ...], std: tuple[float, ...], shape: tuple[int, ...]) -> None:
    """Raises Refused unless there are finite moments of this shape, with a std above 0, or none."""
    moments = mean + std
    if moments and (not shape == (len(mean),) == (len(std),) or not all(map(math.isfinite, moments)) or min(std) <= 0):
        raise Refused("a condition has a mean and a std above 0 for each of its numbers, or none")
