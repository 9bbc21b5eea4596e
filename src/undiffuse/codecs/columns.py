"""Rows of a table: numbers become standard normal, categories stay the numbers that they have in their column."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import Codec, Items, as_float, slices
from undiffuse.core.errors import Refused

KNOTS = 1000  # of each column's quantile function
DECIMALS = 6  # places behind the point that are looked for
UNFITTED = "columns is not fitted: call fit(x) with the training data first"


@dataclass(frozen=True)
class Columns(Codec):
    """z = the columns of numbers, each brought to N(0, 1), before the categorical ones, which hold token numbers.

    categories: of each column of x the names of its categories, none of a column of numbers; given by the data.
    normalise: "quantile": z = Phi^-1(F(x)), F the column's own distribution function, a line between KNOTS of its
    quantiles, and where many rows have one number the middle of the step, so that a whole interval of z is that number;
    "whiten": z = (x - mean)/std.
    Decoding rounds numbers to the decimals that the data have (whole numbers stay whole), and gives every z the nearest
    category; by quantiles no number leaves the range of the data.
    quantiles, rows, mean, std, decimals: what was fitted, for each column of numbers; frequencies: the categories'.
    Raises Refused for rows of another length, and for categories that a column does not have.
    """

    mixed: ClassVar[bool] = True

    categories: tuple[tuple[str, ...], ...] = ()
    normalise: Literal["quantile", "whiten"] = "quantile"
    quantiles: tuple[tuple[float, ...], ...] = ()
    rows: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    decimals: tuple[int, ...] = ()
    frequencies: tuple[tuple[float, ...], ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        of_each = [self.mean, self.std, self.decimals, *([self.quantiles] if self.normalise == "quantile" else [])]
        numbers = len(self._numbers)
        if self.rows and (any(len(values) != numbers for values in of_each) or not all(s > 0 for s in self.std)):
            raise Refused(f"columns needs a mean, a std above 0, decimals and quantiles for each of {numbers} numbers")
        if self.quantiles and (min(map(len, self.quantiles)) < 2 or len(set(map(len, self.quantiles))) != 1):
            raise Refused("columns needs equally many quantiles of each column, 2 or more")
        if not all(all(a <= b for a, b in pairwise(q)) for q in self.quantiles):
            raise Refused("columns needs quantiles that rise")

    @property
    def numbers(self) -> int:
        """How many columns of numbers there are."""
        return len(self._numbers)

    @property
    def vocabularies(self) -> tuple[int, ...]:
        """How many categories each categorical column has."""
        return tuple(len(names) for names in self.categories if names)

    def fit(self, x: Items) -> Self:
        """A copy fitted to the rows of x, (count, columns)."""
        if x.ndim != 2:
            raise Refused(f"the codec columns is for rows of a table, and the data have shape {tuple(x.shape)}")
        known = replace(self, categories=self.categories or ((),) * x.shape[1], rows=0)
        known._check(x.shape[1])
        at = list(known._numbers)
        values = np.concatenate([part[:, at] for part in slices(x)]).astype(np.float64)
        std = np.where(values.min(0) == values.max(0), 1.0, values.std(0)) if at else np.ones(0)
        quantiles: tuple[tuple[float, ...], ...] = ()
        if self.normalise == "quantile" and at:
            places = np.linspace(0, 1, max(2, min(len(values), KNOTS)))
            quantiles = tuple(tuple(column) for column in np.quantile(values, places, axis=0).T.tolist())
        shares = []
        for i, names in enumerate(known.categories):
            if names:
                counts = [np.bincount(part[:, i].astype(np.int64), minlength=len(names)) for part in slices(x)]
                shares.append(tuple((np.sum(counts, axis=0) / len(x)).tolist()))
        return replace(
            known,
            quantiles=quantiles,
            rows=len(x),
            mean=tuple(values.mean(0).tolist()),
            std=tuple(std.tolist()),
            decimals=tuple(_decimals(column) for column in values.T),
            frequencies=tuple(shares),
        )

    def encode(self, x: np.ndarray | Tensor) -> Tensor:
        """Rows in the data's units as float32, numbers first."""
        x = as_float(x)
        self._check(x.shape[1] if x.ndim == 2 else 0)
        numbers, tokens = x[:, list(self._numbers)], x[:, list(self._tokens)]
        sizes = torch.tensor(self.vocabularies, device=x.device)
        if x.device.type == "cpu" and bool(((tokens < 0) | (tokens >= sizes) | (tokens != tokens.round())).any()):
            raise Refused(f"categories must be numbers below {self.vocabularies}, column by column")
        return torch.cat([self._normal(numbers).float(), tokens], dim=1)

    def decode(self, z: Tensor) -> Tensor:
        """Rows in the data's units and in its order of columns."""
        self._check(z.shape[1])
        x = torch.empty(z.shape, dtype=torch.float32, device=z.device)
        count = len(self._numbers)
        sizes = torch.tensor(self.vocabularies, device=z.device)
        x[:, list(self._tokens)] = torch.minimum(z[:, count:].float().round().clamp(min=0), sizes - 1)
        x[:, list(self._numbers)] = self._rounded(self._back(z[:, :count].double())).float()
        return x

    @property
    def _numbers(self) -> tuple[int, ...]:
        return tuple(i for i, names in enumerate(self.categories) if not names)

    @property
    def _tokens(self) -> tuple[int, ...]:
        return tuple(i for i, names in enumerate(self.categories) if names)

    def _check(self, columns: int) -> None:
        if columns != len(self.categories):
            raise Refused(f"the codec columns is for rows of {len(self.categories)} columns, not {columns}")

    def _normal(self, x: Tensor) -> Tensor:
        """Numbers to z, float64."""
        x = x.double()
        if self.normalise == "whiten":
            return (x - self._row(self.mean, x)) / self._row(self.std, x)
        if not x.shape[1]:
            return x
        knots, places = self._knots(x)
        columns = x.T.contiguous()
        low = _line(columns, knots, places, torch.searchsorted(knots, columns, right=False))
        high = _line(columns, knots, places, torch.searchsorted(knots, columns, right=True))
        return torch.special.ndtri((low + high) / 2).T

    def _back(self, z: Tensor) -> Tensor:
        if self.normalise == "whiten":
            return z * self._row(self.std, z) + self._row(self.mean, z)
        if not z.shape[1]:
            return z
        knots, places = self._knots(z)
        level = torch.special.ndtr(z).T.contiguous()
        return _line(level, places, knots, torch.searchsorted(places, level)).T

    def _knots(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Quantiles and the share of rows below each, (columns, knots): the least and greatest row's half counts."""
        knots, places = self._table
        return knots.to(like.device), places.to(like.device)

    @cached_property
    def _table(self) -> tuple[Tensor, Tensor]:
        if not self.rows:
            raise Refused(UNFITTED)
        knots = torch.tensor(self.quantiles, dtype=torch.float64)
        half = 0.5 / self.rows
        places = torch.linspace(half, 1 - half, knots.shape[1], dtype=torch.float64)
        return knots, places.expand_as(knots).contiguous()

    def _rounded(self, x: Tensor) -> Tensor:
        places = torch.tensor(self.decimals, dtype=torch.float64, device=x.device)
        scale = 10 ** places.clamp(min=0)
        return torch.where(places < 0, x, (x * scale).round() / scale)

    def _row(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        if not self.rows:
            raise Refused(UNFITTED)
        return torch.tensor(values, dtype=torch.float64, device=like.device)


def _line(x: Tensor, xs: Tensor, ys: Tensor, above: Tensor) -> Tensor:
    """The line between the points (xs, ys) at x, level beyond the ends; above: the place of the next point."""
    above = above.clamp(1, xs.shape[-1] - 1)
    x_0, x_1 = xs.gather(-1, above - 1), xs.gather(-1, above)
    y_0, y_1 = ys.gather(-1, above - 1), ys.gather(-1, above)
    share = torch.where(x_1 > x_0, (x - x_0) / torch.where(x_1 > x_0, x_1 - x_0, 1.0), 0.0).clamp(0, 1)
    return y_0 + share * (y_1 - y_0)


def _decimals(column: np.ndarray) -> int:
    """How many places behind the point all numbers have, as float32 tells them; -1: more than DECIMALS."""
    seen = column.astype(np.float32)
    for places in range(DECIMALS + 1):
        if (np.round(column, places).astype(np.float32) == seen).all():
            return places
    return -1
