"""Predictions: many draws of each row's target, with what they say: mean, quantiles, chances of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from undiffuse.core.arguments import number
from undiffuse.core.errors import Refused
from undiffuse.sampling.dates import spelled

if TYPE_CHECKING:
    from polars import DataFrame

QUANTILES = (0.05, 0.5, 0.95)
SHARE = 0.95  # of the interval of a class's chance
ALPHA = 0.05  # of the test whether the likeliest class is likelier than the next
TEMPERATURE = 0.2  # of the chances that a draw says


@dataclass(frozen=True, eq=False)
class Predictions:
    """draws: (rows, draws, targets) in the target's own units, or of a class one number a class, near 1 for its own.

    targets: the names of the numbers, or of the classes. classes: whether it is a class. name: of what is predicted.
    form: of dates, the format in which a frame writes them; the draws count them from 1970, see `dates.unit`.
    """

    draws: np.ndarray
    targets: tuple[str, ...]
    classes: bool = False
    name: str = "target"
    form: str = ""

    def __len__(self) -> int:
        return len(self.draws)

    @cached_property
    def mean(self) -> np.ndarray:
        """(rows, targets)"""
        return self.draws.mean(1, dtype=np.float64)

    @cached_property
    def std(self) -> np.ndarray:
        """Standard deviation of the draws, (rows, targets)."""
        return self.draws.std(1, dtype=np.float64)

    def quantiles(self, levels: Sequence[float] = QUANTILES) -> np.ndarray:
        """Of the draws at these levels, (levels, rows, targets): the place p (n + 1) among n sorted draws, so that one
        draw more lies below with the chance p exactly, as far as n reaches. Raises Refused for levels outside [0, 1].
        """
        return np.quantile(self.draws, checked(levels), axis=1, method="weibull")

    @cached_property
    def chances(self) -> np.ndarray:
        """What each draw y says of the classes, (rows, draws, classes): softmax(-(y - 1)^2 / TEMPERATURE).

        Source: arXiv:2206.07275, eq. 11.  Raises Refused where numbers are predicted.
        """
        if not self.classes:
            raise Refused(f"{self.name} is a number, which has quantiles, and no class, which has chances")
        far = -np.square(self.draws.astype(np.float64) - 1) / TEMPERATURE
        found = np.exp(far - far.max(2, keepdims=True))
        return found / found.sum(2, keepdims=True)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """The chance of each class, (rows, classes): the mean over the draws."""
        return self.chances.mean(1)

    def intervals(self, share: float = SHARE) -> np.ndarray:
        """Low and high end of the middle share of the draws' chances, (2, rows, classes)."""
        return np.quantile(self.chances, [(1 - share) / 2, (1 + share) / 2], axis=1)

    @property
    def best(self) -> np.ndarray:
        """The likeliest class of each row, (rows,)."""
        return self.probabilities.argmax(1)

    @cached_property
    def p_values(self) -> np.ndarray:
        """Of the paired two-sided t-test, over the draws, that the likeliest class is as likely as the next, (rows,).

        Where all draws differ by the same, p is 0, or 1 if they do not differ. Source: arXiv:2206.07275, sec. 4.2.1.
        """
        from scipy.special import stdtr

        order = np.argsort(-self.probabilities, axis=1)[:, :2]
        first, second = np.moveaxis(np.take_along_axis(self.chances, order[:, None], axis=2), 2, 0)
        apart, count = first - second, self.draws.shape[1]
        mean, std = apart.mean(1), apart.std(1, ddof=1) if count > 1 else np.full(len(apart), np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(std > 0, mean * np.sqrt(count) / std, np.where(mean > 0, np.inf, 0.0))
        return 2 * stdtr(max(1, count - 1), -np.abs(t))

    def frame(self, quantiles: Sequence[float] = QUANTILES, samples: bool = False) -> "DataFrame":
        """A row each: mean, std and quantiles of numbers; the likeliest class, its p value, and of every class its
        chance with an interval. samples: the draws, too. Of dates all but the std are dates.
        """
        import polars as pl

        made: list[tuple[str, Any]] = []
        if self.classes:
            low, high = self.intervals()
            made = [(self.name, [self.targets[i] for i in self.best]), (f"{self.name}_p_value", self.p_values)]
            for i, name in enumerate(self.targets):
                ends = [(f"p_{name}_low", low[:, i]), (f"p_{name}_high", high[:, i])]
                made += [(f"p_{name}", self.probabilities[:, i]), *ends]
        else:
            found = self.quantiles(quantiles)
            for i, name in enumerate(self.targets):
                made += [(f"{name}_mean", self._written(self.mean[:, i])), (f"{name}_std", self.std[:, i])]
                made += [(f"{name}_q{level:g}", self._written(found[k, :, i])) for k, level in enumerate(quantiles)]
        if samples:
            made += [
                (f"{name}_sample{k}", self._written(self.draws[:, k, i]))
                for i, name in enumerate(self.targets)
                for k in range(self.draws.shape[1])
            ]
        columns: dict[str, Any] = {}
        for name, column in made:
            while name in columns:  # such as of the classes "a" and "a_low"
                name += "_"
            columns[name] = column
        return pl.DataFrame(columns)

    def _written(self, numbers: np.ndarray) -> Any:
        """Numbers of the target as a frame has them: of dates, dates."""
        import polars as pl

        return spelled(pl.Series(np.rint(numbers).astype(np.int64)), self.form) if self.form else numbers


def checked(levels: Sequence[float]) -> list[float]:
    """The levels of quantiles, if that is what they are; raises Refused otherwise."""
    found = [number(level, "quantiles") for level in levels]
    if not found or not all(0 <= level <= 1 for level in found):
        raise Refused(f"quantiles are levels from 0 to 1, such as .05,.5,.95, not {', '.join(f'{v:g}' for v in found)}")
    return found
