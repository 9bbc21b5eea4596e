"""Rows of a table: numbers become standard normal, categories stay the numbers that they have in their column."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import ArrayLike, Codec, as_dtype, as_number, slices
from undiffuse.codecs.normal import WAYS, Moments, Normalised
from undiffuse.codecs.steps import Inside, places, reach, restored
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random

FINE = 2**-12  # of a column's deviation: how exactly a number with more places is known, where that counts
UNFITTED = "columns is not fitted: call fit(x) with the training data first"


@dataclass(frozen=True)
class ColumnsCodec(Codec):
    """z = the columns of numbers, each brought to N(0, 1), before the categorical ones, which hold token numbers.

    categories: of each column of x the names of its categories, none of a column of numbers; given by the data.
    normalise: "quantile": z is a line between a few quantiles, about Phi^-1(F(x)), F the column's own distribution
    function, and where many rows have one number a whole interval of z is that number; "whiten": z = (x - mean)/std.
    See `normal`.
    Decoding rounds numbers to the decimals that the data have (whole numbers stay whole), and gives every z the nearest
    category. inside: whose numbers never leave the range of the data, see `steps.restored`; by quantiles all are
    inside least and most, which of others than whole numbers are rounded outwards.
    quantiles, scores, rows, mean, std, decimals, least, most: what was fitted, for each column of numbers; frequencies:
    the categories'.
    Raises Refused for rows of another length, and for categories that a column does not have.
    """

    mixed: ClassVar[bool] = True

    categories: tuple[tuple[str, ...], ...] = ()
    normalise: Literal["quantile", "whiten"] = "quantile"
    inside: Inside = "whole"
    quantiles: tuple[tuple[float, ...], ...] = ()
    scores: tuple[tuple[float, ...], ...] = ()
    rows: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    decimals: tuple[int, ...] = ()
    least: tuple[float, ...] = ()
    most: tuple[float, ...] = ()
    frequencies: tuple[tuple[float, ...], ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        of_each = [getattr(self, name) for name in ("mean", "std", "least", "most", *WAYS[self.normalise].each)]
        numbers = len(self._numbers)
        if self.rows and (any(len(values) != numbers for values in of_each) or not all(s > 0 for s in self.std)):
            raise Refused(f"columns needs a mean, a std above 0, decimals and quantiles for each of {numbers} numbers")
        knots = self.quantiles + self.scores
        if knots and (min(map(len, knots)) < 2 or len(set(map(len, knots))) != 1):
            raise Refused("columns needs equally many quantiles and scores of each column, 2 or more")
        if not all(all(a <= b for a, b in pairwise(each)) for each in knots):
            raise Refused("columns needs quantiles and scores that rise")

    @property
    def numbers(self) -> int:
        """How many columns of numbers there are."""
        return len(self._numbers)

    @property
    def vocabularies(self) -> tuple[int, ...]:
        """How many categories each categorical column has."""
        return tuple(len(names) for names in self.categories if names)

    def fit(self, x: ArrayLike, **beside: ArrayLike) -> Self:
        """A copy fitted to the rows of x, (count, columns)."""
        if x.ndim != 2:
            raise Refused(f"the codec columns is for rows of a table, and the data have shape {tuple(x.shape)}")
        known = replace(self, categories=self.categories or ((),) * x.shape[1], rows=0)
        known._check(x.shape[1])
        at = list(known._numbers)
        values = np.concatenate([part[:, at] for part in slices(x)]).astype(np.float64)
        decimals = tuple(places(column.astype(x.dtype)) for column in values.T)
        ends = [reach(*each) for each in zip(values.T, decimals, strict=True)]
        low, high = (tuple(each[i] for each in ends) for i in range(2))
        told: dict[str, Any] = Moments.fit(values, decimals, low, high)
        shares = []
        for i, names in enumerate(known.categories):
            if names:
                counts = [np.bincount(part[:, i].astype(np.int64), minlength=len(names)) for part in slices(x)]
                shares.append(tuple((np.sum(counts, axis=0) / len(x)).tolist()))
        return replace(
            known,
            **(told | WAYS[self.normalise].fit(values, decimals, low, high)),
            rows=len(x),
            decimals=decimals,
            least=low,
            most=high,
            frequencies=tuple(shares),
            dtype=x.dtype.name,
        )

    def encode(self, x: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """Rows in the data's units as float32, numbers first."""
        x = as_number(x)
        self._check(x.shape[1] if x.ndim == 2 else 0)
        numbers, tokens = x[:, list(self._numbers)], x[:, list(self._tokens)]
        sizes = torch.tensor(self.vocabularies, dtype=torch.int64, device=x.device)
        if x.device.type == "cpu" and bool(((tokens < 0) | (tokens >= sizes) | (tokens != tokens.round())).any()):
            raise Refused(f"categories must be numbers below {self.vocabularies}, column by column")
        return torch.cat([self._way.normal(numbers.double()), tokens], dim=1).float()

    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """Rows in the data's units and in its order of columns."""
        self._check(z.shape[1])
        x = torch.empty(z.shape, dtype=torch.float64, device=z.device)
        count = len(self._numbers)
        sizes = torch.tensor(self.vocabularies, dtype=torch.int64, device=z.device)
        x[:, list(self._tokens)] = torch.minimum(z[:, count:].double().round().clamp(min=0), sizes - 1)
        x[:, list(self._numbers)] = self._restored(self._way.back(z[:, :count].double()))
        return as_dtype(x, self.dtype)

    def interval(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Between which z lies all that is decoded as z is, of the numbers' columns alone, (rows, numbers) float64.

        Of a number with decimals: to half a unit of the last one above and below. Of one with more places: all within
        half of FINE times the column's deviation. Beyond the ends of what is ever decoded the interval has no end.
        """
        x = self._restored(self._way.back(z.double()))
        places, std = (torch.tensor(v, dtype=torch.float64, device=z.device) for v in (self.decimals, self.std))
        half = torch.where(places < 0, FINE * std, 10 ** -places.clamp(min=0)) / 2
        least, most = self._ends(z)
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

    def _restored(self, x: Tensor) -> Tensor:
        return restored(x, self.decimals, self.least, self.most, "all" if self._way.bounded else self.inside)

    def _ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the greatest number of each column that any z gives, (columns,)."""
        beyond = torch.full((len(self.least),), torch.inf, dtype=torch.float64, device=like.device)
        return tuple(self._restored(end[None])[0] for end in (-beyond, beyond))  # type: ignore[return-value]
