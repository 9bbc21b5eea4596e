"""How columns of numbers become standard normal: by their quantiles, or by their means and deviations."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

KNOTS = 1000  # of each column's quantile function


class Normalised(ABC):
    """A map of each column that never falls, x to z and back, (rows, columns), all in float64.

    each: which fields of the codec it needs, with an entry for each column.
    """

    each: ClassVar[tuple[str, ...]]

    @classmethod
    @abstractmethod
    def of(cls, codec: Any) -> Self:
        """The map that a fitted codec's fields describe."""

    @staticmethod
    @abstractmethod
    def quantiles(x: np.ndarray) -> tuple[tuple[float, ...], ...]:
        """The quantiles of each column that it needs; () if none."""

    @abstractmethod
    def normal(self, x: Tensor) -> Tensor:
        """Numbers to z."""

    @abstractmethod
    def back(self, z: Tensor) -> Tensor:
        """z to numbers."""

    @abstractmethod
    def ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the greatest number of each column that any z gives, (columns,)."""


@dataclass(frozen=True, eq=False)
class Quantiles(Normalised):
    """z = Phi^-1(F(x)), F a line between knots of the column's quantiles; where it jumps, the middle of the jump.

    knots: (columns, k), rising. places: F there, (columns, k): the least and the greatest row's half counts.
    """

    each: ClassVar[tuple[str, ...]] = ("mean", "std", "decimals", "quantiles")

    knots: Tensor
    places: Tensor

    @classmethod
    def of(cls, codec: Any) -> Self:
        columns = len(codec.quantiles)
        knots = torch.tensor(codec.quantiles, dtype=torch.float64).reshape(columns, -1 if columns else 2)
        half = 0.5 / codec.rows
        places = torch.linspace(half, 1 - half, knots.shape[1], dtype=torch.float64)
        return cls(knots, places.expand_as(knots).contiguous())

    @staticmethod
    def quantiles(x: np.ndarray) -> tuple[tuple[float, ...], ...]:
        at = np.linspace(0, 1, max(2, min(len(x), KNOTS)))
        return tuple(tuple(column) for column in np.quantile(x, at, axis=0).T.tolist())

    def normal(self, x: Tensor) -> Tensor:
        knots, places, columns = self.knots.to(x.device), self.places.to(x.device), x.T.contiguous()
        low = _line(columns, knots, places, torch.searchsorted(knots, columns, right=False))
        high = _line(columns, knots, places, torch.searchsorted(knots, columns, right=True))
        return torch.special.ndtri((low + high) / 2).T

    def back(self, z: Tensor) -> Tensor:
        knots, places = self.knots.to(z.device), self.places.to(z.device)
        level = torch.special.ndtr(z).T.contiguous()
        return _line(level, places, knots, torch.searchsorted(places, level)).T

    def ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return self.knots[:, 0].to(like.device), self.knots[:, -1].to(like.device)


@dataclass(frozen=True, eq=False)
class Moments(Normalised):
    """z = (x - mean)/std, column by column."""

    each: ClassVar[tuple[str, ...]] = ("mean", "std", "decimals")

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, codec: Any) -> Self:
        return cls(torch.tensor(codec.mean, dtype=torch.float64), torch.tensor(codec.std, dtype=torch.float64))

    @staticmethod
    def quantiles(x: np.ndarray) -> tuple[tuple[float, ...], ...]:
        return ()

    def normal(self, x: Tensor) -> Tensor:
        return (x - self.mean.to(x.device)) / self.std.to(x.device)

    def back(self, z: Tensor) -> Tensor:
        return z * self.std.to(z.device) + self.mean.to(z.device)

    def ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        beyond = torch.full_like(self.mean, torch.inf, device=like.device)
        return -beyond, beyond


WAYS: dict[str, type[Normalised]] = {"quantile": Quantiles, "whiten": Moments}


def _line(x: Tensor, xs: Tensor, ys: Tensor, above: Tensor) -> Tensor:
    """The line between the points (xs, ys) at x, level beyond the ends; above: the place of the next point."""
    above = above.clamp(1, xs.shape[-1] - 1)
    x_0, x_1 = xs.gather(-1, above - 1), xs.gather(-1, above)
    y_0, y_1 = ys.gather(-1, above - 1), ys.gather(-1, above)
    share = torch.where(x_1 > x_0, (x - x_0) / torch.where(x_1 > x_0, x_1 - x_0, 1.0), 0.0).clamp(0, 1)
    return y_0 + share * (y_1 - y_0)
