"""Rows of a table: numbers become standard normal, categories stay the numbers that they have in their column."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import Codec, Items, as_float, slices
from undiffuse.codecs.normal import WAYS, Normalised
from undiffuse.core.errors import Refused

DECIMALS = 6  # places behind the point that are looked for
FINE = 2**-12  # of a column's deviation: how exactly a number with more places is known, where that counts
UNFITTED = "columns is not fitted: call fit(x) with the training data first"


@dataclass(frozen=True)
class Columns(Codec):
    """z = the columns of numbers, each brought to N(0, 1), before the categorical ones, which hold token numbers.

    categories: of each column of x the names of its categories, none of a column of numbers; given by the data.
    normalise: "quantile": z = Phi^-1(F(x)), F the column's own distribution function, a line between some of its
    quantiles, and where many rows have one number the middle of the step, so that a whole interval of z is that number;
    "whiten": z = (x - mean)/std. See `normal`.
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
        of_each = [getattr(self, name) for name in WAYS[self.normalise].each]
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
        shares = []
        for i, names in enumerate(known.categories):
            if names:
                counts = [np.bincount(part[:, i].astype(np.int64), minlength=len(names)) for part in slices(x)]
                shares.append(tuple((np.sum(counts, axis=0) / len(x)).tolist()))
        return replace(
            known,
            quantiles=WAYS[self.normalise].quantiles(values),
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
        sizes = torch.tensor(self.vocabularies, dtype=torch.int64, device=x.device)
        if x.device.type == "cpu" and bool(((tokens < 0) | (tokens >= sizes) | (tokens != tokens.round())).any()):
            raise Refused(f"categories must be numbers below {self.vocabularies}, column by column")
        return torch.cat([self._way.normal(numbers.double()).float(), tokens], dim=1)

    def decode(self, z: Tensor) -> Tensor:
        """Rows in the data's units and in its order of columns."""
        self._check(z.shape[1])
        x = torch.empty(z.shape, dtype=torch.float32, device=z.device)
        count = len(self._numbers)
        sizes = torch.tensor(self.vocabularies, dtype=torch.int64, device=z.device)
        x[:, list(self._tokens)] = torch.minimum(z[:, count:].float().round().clamp(min=0), sizes - 1)
        x[:, list(self._numbers)] = self._rounded(self._way.back(z[:, :count].double())).float()
        return x

    def interval(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Between which z lies all that is decoded as z is, of the numbers' columns alone, (rows, numbers) float64.

        Of a number with decimals: to half a unit of the last one above and below. Of one with more places: all within
        half of FINE times the column's deviation. Beyond the ends of what is ever decoded the interval has no end.
        """
        x = self._rounded(self._way.back(z.double()))
        places, std = (torch.tensor(v, dtype=torch.float64, device=z.device) for v in (self.decimals, self.std))
        half = torch.where(places < 0, FINE * std, 10 ** -places.clamp(min=0)) / 2
        least, most = self._way.ends(z)
        low = torch.where(x - half <= least, -torch.inf, self._way.normal(x - half))
        high = torch.where(x + half >= most, torch.inf, self._way.normal(x + half))
        return low, high

    @property
    def _numbers(self) -> tuple[int, ...]:
        return tuple(i for i, names in enumerate(self.categories) if not names)

    @property
    def _tokens(self) -> tuple[int, ...]:
        return tuple(i for i, names in enumerate(self.categories) if names)

    def _check(self, columns: int) -> None:
        if columns != len(self.categories):
            raise Refused(f"the codec columns is for rows of {len(self.categories)} columns, not {columns}")

    @cached_property
    def _way(self) -> Normalised:
        if not self.rows:
            raise Refused(UNFITTED)
        return WAYS[self.normalise].of(self)

    def _rounded(self, x: Tensor) -> Tensor:
        places = torch.tensor(self.decimals, dtype=torch.float64, device=x.device)
        scale = 10 ** places.clamp(min=0)
        return torch.where(places < 0, x, (x * scale).round() / scale)


def _decimals(column: np.ndarray) -> int:
    """How many places behind the point all numbers have, as float32 tells them; -1: more than DECIMALS."""
    seen = column.astype(np.float32)
    for places in range(DECIMALS + 1):
        if (np.round(column, places).astype(np.float32) == seen).all():
            return places
    return -1
