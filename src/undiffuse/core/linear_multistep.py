"""Linear multistep methods: a step with the guesses of the steps before it, predicted and then corrected."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.broadcast import factor
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule

_POINTS, _SHARES = (
    torch.as_tensor(each, device="cpu") for each in np.polynomial.legendre.leggauss(20)
)  # exact to degree 39
_NONE = torch.zeros((), dtype=torch.float64, device="cpu")
_NOISE = -1e15  # the level of pure noise, where alpha = 0
_LONGEST = 30.0  # of a step, in l times growth: what lies further back weighs e^-30


class Past(NamedTuple):
    """What the next step needs of this one: levels and guesses, newest first, the guesses' shares in the prediction,
    and what their sum was multiplied by.
    """

    levels: tuple[Tensor, ...]
    guesses: tuple[Tensor, ...]
    shares: tuple[Tensor, ...]
    pull: Tensor


def level(schedule: Schedule, t: Tensor) -> Tensor:
    """l = log(alpha/sigma) in float64, of t's shape: infinite at data, finite at pure noise."""
    return (schedule.log_snr(t) / 2).clamp(min=_NOISE)


class LinearMultistep(Sampler, ABC):
    """x_s = keep x_t + pull sum_i w_i D_i + fresh noise, where D_0 is the guess at x_t and the others came before it.

    Where it corrects, x_t is moved first by what the shares of the last step should have been, now that D_0 is known,
    less those that it had, so that the step's noise, and what was done to x_t after it, stay. That costs no call.
    """

    batch_times: ClassVar[bool] = True

    @property
    @abstractmethod
    def remember(self) -> int:
        """How many guesses the next step is handed, at least all that were predicted with if they are corrected."""

    @abstractmethod
    def predict(self, levels: Sequence[Tensor], start: Tensor, end: Tensor) -> Sequence[Tensor]:
        """The shares w_i, of sum 1, that guesses at these levels, newest first, have in a step between two levels."""

    def correct(self, levels: Sequence[Tensor], used: int, start: Tensor, end: Tensor) -> Sequence[Tensor] | None:
        """The shares of the last step, with the guess at its end, the newest; None: it is not corrected.

        used: how many guesses it was predicted with.
        """
        return None

    def keep(self, process: Any, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The share of x_t that stays; here all that no fresh noise takes the place of."""
        return process.keep(s, t, x_t)

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process, past = cast("Any", denoiser.process), cast("Past | None", memory)
        guess: Any = denoiser(x_t, t, **cond)
        keep = self.keep(process, x_t, t, s)
        levels = (level(process.schedule, t), *(past.levels if past else ()))
        guesses = (guess.mean, *(past.guesses if past else ()))
        if past and (better := self.correct(levels, len(past.shares), levels[1], levels[0])) is not None:
            change = [new - old for new, old in zip_longest(better, (_NONE, *past.shares), fillvalue=_NONE)]
            x_t = x_t + past.pull.to(x_t) * combined(change, guesses)
        shares = tuple(self.predict(levels, levels[0], level(process.schedule, s)))
        pull = process.schedule.at(s, x_t)[0] - keep * process.schedule.at(t, x_t)[0]
        belief = process.bridge(x_t, Normal(combined(shares, guesses), 0.0), s, t, keep)
        return belief, Past(levels[: self.remember], guesses[: self.remember], shares, pull)


class PredictorCorrector(LinearMultistep, ABC):
    """One whose prediction and correction take their shares alike: of `order` guesses, and of `corrector`, the new one
    among them; corrector 0 leaves the correction out.
    """

    order: int
    corrector: int

    @abstractmethod
    def shares(self, levels: Sequence[Tensor], start: Tensor, end: Tensor) -> Sequence[Tensor]:
        """The shares of guesses at these levels, newest first, in a step between two levels."""

    @property
    def remember(self) -> int:
        return max(self.order, self.corrector - 1)

    def predict(self, levels: Sequence[Tensor], start: Tensor, end: Tensor) -> Sequence[Tensor]:
        return self.shares(levels[: self.order], start, end)

    def correct(self, levels: Sequence[Tensor], used: int, start: Tensor, end: Tensor) -> Sequence[Tensor] | None:
        return self.shares(levels[: self.corrector], start, end) if self.corrector else None


def combined(shares: Iterable[Tensor], values: Iterable[Tensor]) -> Tensor:
    """sum_i shares_i values_i: shares () or (batch,), values (batch, *shape)."""
    total: Any = 0
    for share, value in zip(shares, values, strict=False):
        total = total + wide(share, value) * value
    return total


def lagrange(nodes: Sequence[Tensor], at: Tensor) -> list[Tensor]:
    """The polynomials that are 1 at one node and 0 at the others, at points (n,) or (n, batch)."""
    found: list[Tensor] = []
    for i, node in enumerate(nodes):
        value = torch.ones_like(at)
        for j, other in enumerate(nodes):
            value = value if i == j else value * (at - other) / (node - other)
        found.append(value)
    return found


def mean(start: Tensor, end: Tensor, weigh: Callable[[Tensor], tuple[Tensor, Sequence[Tensor]]]) -> Sequence[Tensor]:
    """The weighted means of functions from start to end, by Gauss-Legendre quadrature.

    weigh: the weights and the functions at points (20,) or (20, batch).
    """
    column = (-1, *(1,) * max(start.ndim, end.ndim))
    weights, values = weigh(start + (end - start) * (1 + _POINTS.reshape(column)) / 2)
    weights = _SHARES.reshape(column) * weights
    return [(weights * value).sum(0) / weights.sum(0) for value in values]


def polynomial(levels: Sequence[Tensor], start: Tensor, end: Tensor, growth: Tensor | float = 1.0) -> Sequence[Tensor]:
    """The shares of values at these levels in the mean from start to end, weighed by e^(growth l), of the polynomial
    through them; exact. Onto data, where l is infinite, the newest value counts alone.
    """
    lands = end.isinf()
    stop = torch.where(lands, start + 1, end)
    begin = torch.maximum(start, stop - _LONGEST / growth)
    means = mean(begin, stop, lambda at: ((growth * (at - stop)).exp(), lagrange(levels, at)))
    return newest_where(lands, means)


def line(levels: Sequence[Tensor], start: Tensor, end: Tensor, *, bh1: bool = False) -> Sequence[Tensor]:
    """The shares of two values in the line's value at start and half its rise to end, times B(h)/(1 - e^-h).

    The factor is 1 for UniPC's B2, and h/(1 - e^-h) for B1, h = end - start; from pure noise that is infinite, and B1
    does not count the rise. Onto data the newest value counts alone.
    """
    lands = end.isinf()
    h = torch.where(lands, 1.0, end - start)
    factor = torch.where(h < -_NOISE / 2, h / -torch.expm1(-h), 0.0) if bh1 else 1.0
    between = levels[0] - levels[1]
    first = (start - levels[1]) / between + factor * h / between / 2
    return newest_where(lands, [first, 1 - first])


def newest_where(lands: Tensor, shares: Sequence[Tensor]) -> Sequence[Tensor]:
    """The shares; the newest value alone where a step lands on data."""
    return [torch.where(lands, 0.0 if i else 1.0, share) for i, share in enumerate(shares)]


def wide(share: Tensor, like: Tensor) -> Tensor:
    """() as it is, (batch,) shaped to multiply `like`."""
    return factor(share, like) if share.ndim else share.to(like.dtype)
