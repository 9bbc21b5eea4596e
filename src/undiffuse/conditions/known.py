"""What is known of the item itself: its past, or its numbers here and there; the rest is filled in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.condition_kind import ConditionKind, Derive, Form, Question, from_data
from undiffuse.conditions.hidden import KNOWN, MISSING, hide, state, ways
from undiffuse.conditions.values import expanded
from undiffuse.conditions.vector import refuse_moments
from undiffuse.core import arguments
from undiffuse.core.errors import Refused


@dataclass(frozen=True)
class KnownCondition(ConditionKind):
    """An item with NaN where it is not known, as channels beside the sample: z = (x - mean)/std where it is known, else
    0, and for each channel one more, 1 where it is known, 0 where it is asked for, -1 where the data have no number.

    of: what is hidden in training, see `hidden.ways`: "forecast:24,missing:0.5" hides the last 24 steps of about half
    of the items, and of the others up to half of their numbers, so that one model forecasts and imputes. mean, std: of
    each channel; the data decide them. Source: arXiv:2107.03502, sec. 4 (there the hidden numbers are drawn anew at
    every step).
    """

    of: str = ""
    mean: tuple[float, ...] = from_data()
    std: tuple[float, ...] = from_data()

    form: ClassVar[Form] = "image"
    axes: ClassVar[tuple[int, ...]] = (2, 3, 4)
    items: ClassVar[tuple[int, ...]] = (2, 3, 4)
    needs: ClassVar[str] = "(count, 2 channels, length): numbers, and whether each is known"
    metavar: ClassVar[str] = "FILE"
    beside: ClassVar[bool] = True
    completes: ClassVar[bool] = True
    help: ClassVar[str] = "A series (.npy) with NaN where it is to be filled in."

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_moments(self.mean, self.std, (self.shape[0] // 2,) if self.shape else ())
        if self.of:
            ways(self.of, "known")

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim - 1 in self.axes and values.dtype.kind == "f" and values.shape[1] % 2 == 0

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        numbers, states = _halves(values)
        axes = (0, *range(2, values.ndim))
        there = states != MISSING
        wide = numbers.astype(np.float64)
        mean = wide.mean(axes, where=there)
        std = wide.std(axes, where=there)
        std = np.where(std > 0, std, 1.0)
        shape = tuple(int(side) for side in values.shape[1:])
        return replace(self, shape=shape, mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    def encode(self, values: np.ndarray) -> Tensor:
        numbers, states = _halves(values)
        z = (numbers.astype(np.float64) - _each(self.mean, values)) / _each(self.std, values)
        z = np.where(states == KNOWN, z, 0.0)
        return torch.from_numpy(np.concatenate([z, states], axis=1).astype(np.float32))

    def from_items(self, values: np.ndarray, classes: Sequence[str]) -> Any:
        """The numbers, NaN where they are not known."""
        numbers, states = _halves(values)
        return np.where(states == KNOWN, numbers, np.nan)

    def given(self, value: Any, n: int, name: str) -> Tensor:
        """One item (channels, ...) or n of them, with NaN where it is asked for; one channel need not be said."""
        found = arguments.array(value, name, gaps=True).astype(np.float64)
        channels, *sides = (self.shape[0] // 2, *self.shape[1:])
        if channels == 1 and found.shape[-len(sides) :] == tuple(sides) and found.ndim <= len(sides) + 1:
            found = found.reshape(-1, 1, *sides)
        found = found[None] if found.ndim == len(sides) + 1 else found
        if found.shape[1:] != (channels, *sides):
            raise Refused(
                f"{name} is a series of shape {(channels, *sides)} with NaN where it is asked for; given is "
                f"{np.shape(value)}"
            )
        gone = np.isnan(found)
        return expanded(self.encode(np.concatenate([np.nan_to_num(found), state(gone)], axis=1)), n, name)

    def from_word(self, word: str, name: str) -> Any:
        """An .npy file."""
        if not Path(word).is_file() or not word.lower().endswith(".npy"):
            raise Refused(f"{name} = {word!r} is no .npy file; of a .csv: undiffuse forecast RUN FILE.csv")
        try:
            return np.load(word, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise Refused(f"{word} cannot be read for {name!r}: {error}") from None

    def questions(self, values: np.ndarray) -> Mapping[str, Question]:
        """By the words of `of` what is hidden of each item then, among what the data have."""
        numbers, states = _halves(values)
        found: dict[str, Question] = {}
        for word, way in ways(self.of, "known").items() if self.of else ():
            random = [np.random.Generator(np.random.Philox(key=i)) for i in range(len(values))]
            gone = np.stack([way(numbers.shape[1:], each) for each in random])
            there = states != MISSING
            found[word] = Question(np.where(there & ~gone, numbers, np.nan), there & gone)
        return found

    def summary(self) -> str:
        sides = " x ".join(map(str, (self.shape[0] // 2, *self.shape[1:]))) if self.shape else "any size"
        return f"an item of {sides} with NaN where it is to be filled in"

    def derivation(self, name: str) -> Derive | None:
        return hide(self.of, name) if self.of else None


def _halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers and their states, (count, channels, ...) each."""
    channels = values.shape[1] // 2
    return values[:, :channels], values[:, channels:]


def _each(numbers: tuple[float, ...], values: np.ndarray) -> np.ndarray:
    """A number a channel, to stand before the other axes."""
    return np.array(numbers).reshape(-1, *(1,) * (values.ndim - 2))
