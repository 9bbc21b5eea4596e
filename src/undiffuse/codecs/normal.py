"""How columns of numbers become about normal: by a few of their quantiles, or by their means and deviations."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

ROWS = 5  # so many rows, at least, have a value that is kept as it is, and twice as many lie between two quantiles
KNOTS = 100  # of each column's distribution function, beside the values that many rows have
FARTHEST = 3.9  # where the ends of the data are put
ROUNDS, MARGIN = 10, 1.02  # of finding how long a line must be, for it is longer where it is farther out
BITS = 24  # of float32: a column's numbers come back to 2^-BITS of its range
FINE = 2.0**21  # steps in a range, from which on only a straight line tells them apart


class Normalised(ABC):
    """A map of each column that never falls, x to z and back, (rows, columns), all in float64.

    each: which fields of the codec it needs, with an entry for each column. bounded: whether no z leads beyond the
    columns' least and greatest number.
    """

    each: ClassVar[tuple[str, ...]]
    bounded: ClassVar[bool]

    @classmethod
    @abstractmethod
    def of(cls, codec: Any) -> Self:
        """The map that a fitted codec's fields describe."""

    @staticmethod
    @abstractmethod
    def fit(x: np.ndarray, decimals: Sequence[int], low: Sequence[float], high: Sequence[float]) -> dict[str, Any]:
        """The codec's fields that it needs, of numbers x (rows, columns) with these places and ranges."""

    @abstractmethod
    def normal(self, x: Tensor) -> Tensor:
        """Numbers to z."""

    @abstractmethod
    def back(self, z: Tensor) -> Tensor:
        """z to numbers."""


@dataclass(frozen=True, eq=False)
class Quantiles(Normalised):
    """z is a line between knots of the column's quantiles; where a value has two, the middle of its step.

    Knots are a value that ROWS rows or more have, and rounded quantiles with twice as many between them: no row's own
    number is kept but the ends of whole numbers. A number with so many places is as wide as its last one. Where a line
    is so steep that float32 would not tell its numbers apart, it is made longer.
    knots, scores: (columns, k) numbers and their z, both rising.
    """

    each: ClassVar[tuple[str, ...]] = ("decimals", "quantiles", "scores")
    bounded: ClassVar[bool] = True

    knots: Tensor
    scores: Tensor

    @classmethod
    def of(cls, codec: Any) -> Self:
        columns = len(codec.quantiles)
        knots, scores = (
            torch.tensor(each, dtype=torch.float64).reshape(columns, -1 if columns else 2)
            for each in (codec.quantiles, codec.scores)
        )
        return cls(knots, scores)

    @staticmethod
    def fit(x: np.ndarray, decimals: Sequence[int], low: Sequence[float], high: Sequence[float]) -> dict[str, Any]:
        found = [_knots(*each) for each in zip(x.T, decimals, low, high, strict=True)]
        most = max((len(each.x) for each in found), default=0)
        padded = [[np.pad(values, (0, most - len(values)), "edge") for values in each] for each in found]
        quantiles, scores = (tuple(tuple(each[i].tolist()) for each in padded) for i in range(2))
        return {"quantiles": quantiles, "scores": scores}

    def normal(self, x: Tensor) -> Tensor:
        knots, scores, columns = self.knots.to(x.device), self.scores.to(x.device), x.T.contiguous()
        low = _line(columns, knots, scores, torch.searchsorted(knots, columns, right=False))
        high = _line(columns, knots, scores, torch.searchsorted(knots, columns, right=True))
        middle = torch.special.ndtri((torch.special.ndtr(low) + torch.special.ndtr(high)) / 2)
        return torch.where(low == high, low, torch.minimum(torch.maximum(middle, low), high)).T

    def back(self, z: Tensor) -> Tensor:
        knots, scores, columns = self.knots.to(z.device), self.scores.to(z.device), z.T.contiguous()
        return _line(columns, scores, knots, torch.searchsorted(scores, columns)).T


@dataclass(frozen=True, eq=False)
class Moments(Normalised):
    """z = (x - mean)/std, column by column."""

    each: ClassVar[tuple[str, ...]] = ("mean", "std", "decimals")
    bounded: ClassVar[bool] = False

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, codec: Any) -> Self:
        return cls(torch.tensor(codec.mean, dtype=torch.float64), torch.tensor(codec.std, dtype=torch.float64))

    @staticmethod
    def fit(x: np.ndarray, decimals: Sequence[int], low: Sequence[float], high: Sequence[float]) -> dict[str, Any]:
        flat = x.min(0) == x.max(0) if len(x.T) else np.zeros(0, bool)
        mean, std = centred(x.mean(0), np.where(flat, 1.0, x.std(0)), decimals, x.min(0), x.max(0))
        return {"mean": tuple(mean.tolist()), "std": tuple(std.tolist())}

    def normal(self, x: Tensor) -> Tensor:
        return (x - self.mean.to(x.device)) / self.std.to(x.device)

    def back(self, z: Tensor) -> Tensor:
        return z * self.std.to(z.device) + self.mean.to(z.device)


WAYS: dict[str, type[Normalised]] = {"quantile": Quantiles, "whiten": Moments}


def centred(
    mean: np.ndarray, std: np.ndarray, decimals: Sequence[int], low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centre and spread of columns: mean and deviation, but of as many steps as float32 tells apart the range's middle
    and the deviation from there, so that z spends as many bits on both sides.
    """
    places = np.array(decimals)
    steps = (high - low) * 10.0 ** places.clip(0)
    fine = (places >= 0) & (steps >= FINE) & (steps < 2**BITS)
    middle = low + (high - low) / 2
    std = np.where(std > 0, std, np.where(high > low, (high - low) / 2, 1.0))  # whose square is no number any more
    return np.where(fine, middle, mean), np.where(fine, np.hypot(std, mean - middle), std)


class _Knots(NamedTuple):
    x: np.ndarray
    z: np.ndarray


def _knots(column: np.ndarray, decimals: int, low: float, high: float) -> _Knots:
    """Where the line of a column bends."""
    steps = (high - low) * 10.0 ** max(decimals, 0)
    count = len(column)
    if decimals >= 0 and FINE <= steps < 2 ** (BITS + 1):  # the ends are rounded outwards
        wide = (high - low) / 2 / max(float(np.hypot(column.std(), column.mean() - (low + high) / 2)), 1e-300)
        wide = 2.0 ** np.round(np.log2(wide))  # below a power of two float32 is finest
        return _Knots(np.array([low, high]), np.array([-wide, wide]))
    values, counts = np.unique(column, return_counts=True)
    after = counts.cumsum()
    often = counts >= max(ROWS, count / (2 * KNOTS))
    apart = max(2 * ROWS, count / KNOTS)  # rows between two quantiles
    half = 0.5 * 10.0**-decimals if decimals >= 0 and high > low else 0.0
    kept: list[tuple[float, float]] = [(low - half, 0.0)]
    run = 0  # the first row since the last value that comes often
    for place in [*np.flatnonzero(often).tolist(), len(values)]:
        until = int(after[place] - counts[place]) if place < len(values) else count
        inner = int((until - run) // apart) - 1
        levels = run + (until - run) * np.arange(1, inner + 1) / (inner + 1)
        places = np.searchsorted(after, levels, side="right") if inner > 0 else []
        kept += [(float(values[at]) + half, float(min(after[at], until))) for at in places]
        if place < len(values):
            run = int(after[place])
            own = min(0.5, counts[place] / 4)
            value = float(values[place])
            kept += [(value - half, float(until)), (value, until + own), (value, run - own), (value + half, float(run))]
    kept.append((high + half, float(count)))
    x, level = np.array(kept).T
    x = _rounded(x, set(values[often].tolist()), half, decimals)
    least = min(0.5 / count, 0.25)
    z = _score((level / count).clip(least, 1 - least)).clip(-FARTHEST, FARTHEST)
    step = (high - low) * 2.0**-BITS if decimals < 0 or steps >= 2**BITS else 0.5 * 10.0**-decimals
    return _Knots(x, _longer(x, z, level / count, step) if high > low else z)


def _longer(x: np.ndarray, z: np.ndarray, level: np.ndarray, step: float) -> np.ndarray:
    """Scores between which float32 tells numbers apart that are a step from each other.

    A line's numbers are as exact as the line is long, and float32 is where the line lies. The rows' mean stays.
    """
    found, was, shares = z, np.diff(z), np.diff(level)
    middle = _score((level[1:] + level[:-1]) / 2).clip(z[:-1], z[1:]) - z[:-1]  # of each line, from its beginning
    for _ in range(ROUNDS):
        reach = np.maximum(np.abs(found[1:]), np.abs(found[:-1])).astype(np.float32)
        widths = np.maximum(was, np.diff(x) / step * np.spacing(reach) / 2 * MARGIN)
        walked = np.concatenate([z[:1], z[0] + widths.cumsum()])
        more = np.where(was > 0, middle * widths / np.where(was > 0, was, 1.0), widths / 2)
        made = walked - shares @ (walked[:-1] + more - z[:-1] - middle)
        if np.array_equal(made, found):
            break
        found = made
    return found


def _score(level: np.ndarray) -> np.ndarray:
    return torch.special.ndtri(torch.from_numpy(level)).numpy()


def _rounded(x: np.ndarray, common: set[float], half: float, decimals: int) -> np.ndarray:
    """Knots with few digits: a quarter of the way to the nearest other one is as good; those that many rows have, and
    the ends, stay.
    """
    found = x.copy()
    for i in range(1, len(x) - 1):
        gap = min(x[i] - x[i - 1], x[i + 1] - x[i])
        if gap <= 0 or {float(x[i] + side) for side in (-half, 0.0, half)} & common:
            continue
        digits = int(np.ceil(-np.log10(gap / 2)))
        found[i] = round(float(x[i]) - half, min(digits, decimals) if decimals >= 0 else digits) + half
    return np.maximum.accumulate(found).clip(x[0], x[-1])


def _line(x: Tensor, xs: Tensor, ys: Tensor, above: Tensor) -> Tensor:
    """The line between the points (xs, ys) at x, level beyond the ends; above: the place of the next point."""
    behind = (above >= xs.shape[-1]).double()
    above = above.clamp(1, xs.shape[-1] - 1)
    x_0, x_1 = xs.gather(-1, above - 1), xs.gather(-1, above)
    y_0, y_1 = ys.gather(-1, above - 1), ys.gather(-1, above)
    share = torch.where(x_1 > x_0, (x - x_0) / torch.where(x_1 > x_0, x_1 - x_0, 1.0), behind).clamp(0, 1)
    return y_0 + share * (y_1 - y_0)
