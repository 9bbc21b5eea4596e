"""Optimal variance: how far the data lies from the guess on average, one number for each time."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.random import Random
from undiffuse.core.tabulated import interpolate_at
from undiffuse.guidance.wrapping import Guided

BATCH = 512


@dataclass(frozen=True)
class OptimalVariance(Guided):
    """The same guess, with the variance E Var(x_0 given x_t) = sigma^2/alpha^2 (1 - Gamma), one number a time.

    Gamma = E|noise guess|^2 / d. A step that averages over a guess's variance ("exact" in ancestral and ddim) then has
    the best variance that one number can be, lambda^2 + pull^2 Var, for every grid of times.
    times, variances: the table that `estimated` makes, linear between its times and 0 at data.
    bounds: the data's range [a, b], which caps the variance at ((b - a)/2)^2 (the paper's code: 1, from [-1, 1]).
    clip_mean: keep the guess itself inside the bounds, too.
    late, late_std: at times up to `late` the guess's deviation is at most late_std, so that the last step leaves
    no visible noise; 0: it lands on the guess. The default is two grey levels of data in [-1, 1], at which the paper's
    code caps the whole step.
    Source: arXiv:2201.06503, theorem 1 and 2.
    """

    denoiser: Denoiser
    times: Sequence[float]
    variances: Sequence[float]
    bounds: tuple[float, float] | None = None
    clip_mean: bool = False
    late: float = 0.0
    late_std: float = 4 / 255 * math.sqrt(math.pi / 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.times) or len(self.times) != len(self.variances):
            raise Refused(
                f"optimal_variance needs as many variances as times, at least one; not {len(self.variances)} and "
                f"{len(self.times)}"
            )
        if not (np.diff(self.times, prepend=0.0) > 0).all() or not (np.asarray(self.variances) >= 0).all():
            raise Refused("optimal_variance needs times that rise from above 0, and variances of 0 or more")
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise Refused(f"the data's bounds must rise, not {self.bounds[0]:g} to {self.bounds[1]:g}")
        if not 0 <= self.late <= 1 or self.late_std < 0:
            raise Refused(
                f"optimal_variance needs late in [0, 1] and late_std >= 0, not {self.late:g}, {self.late_std:g}"
            )
        if self.clip_mean and self.bounds is None:
            raise Refused("optimal_variance keeps the guess inside the data's bounds, and none are given")

    @cached_property
    def _table(self) -> tuple[Tensor, Tensor]:
        """The times and variances, from data on."""
        times, variances = (torch.tensor((0.0, *each), dtype=torch.float64) for each in (self.times, self.variances))
        return times, variances

    def no_density(self) -> str:
        return self.denoiser.no_density()

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        guess: Any = self.denoiser(x_t, t, **cond)
        at = torch.as_tensor(t, dtype=torch.float64)
        table = interpolate_at(*self._table, at)
        table = torch.where(at <= self.late, table.clamp(max=self.late_std**2), table)
        var = table.to(x_t)
        var = var.expand(len(x_t)).reshape(-1, *(1,) * (x_t.ndim - 1))  # one a sample, even where it is 0
        if self.bounds is None:
            return replace(guess, var=var)
        low, high = self.bounds
        mean = guess.mean.clamp(low, high) if self.clip_mean else guess.mean
        return replace(guess, mean=mean, var=var.clamp(max=((high - low) / 2) ** 2))


def estimated(
    denoiser: Denoiser,
    x_0: Tensor,
    times: Sequence[float] | Tensor,
    random: Random,
    rule: Literal["error", "score"] = "error",
    batch: int = BATCH,
    **cond: Any,
) -> Iterator[float]:
    """The variance at each of the times in turn, from data x_0 (count, *shape) with one noise a datum.

    rule: "error" is E|guess - x_0|^2 / d, the best variance for the guess as it is, trained well or not; "score" is
    the paper's sigma^2/alpha^2 (1 - Gamma), at least 0: equal for the best guess, but its scatter grows with
    sigma^2/alpha^2, and a trained guess may have a Gamma above 1. cond: one value a datum, (count, ...).
    Raises Refused for an unknown rule, and for "score" at a time where alpha = 0.
    """
    if rule not in _RULES:
        raise unknown("the estimate of the optimal variance", rule, _RULES)
    for i, t in enumerate(torch.as_tensor(times, dtype=torch.float64)):
        yield _RULES[rule](denoiser, x_0, t, random.fold(i), batch, cond)


def noise_power(
    denoiser: Denoiser, x_0: Tensor, t: Tensor | float, random: Random, batch: int = BATCH, **cond: Any
) -> float:
    """Gamma = E|noise guess|^2 / d at the time t, over the data x_0 (count, *shape) with one noise a datum.

    Gamma + the noise guess's mean squared error = 1 for the best guess.
    """
    process: Any = denoiser.process
    return _mean(lambda x, x_t, guess: process.noise(x_t, guess, t), denoiser, x_0, t, random, batch, cond)


def variance(denoiser: Denoiser, t: Tensor | float, gamma: float) -> float:
    """sigma^2/alpha^2 (1 - gamma), at least 0. Raises Refused where alpha = 0."""
    process: Any = denoiser.process
    alpha, sigma = (float(c) for c in process.schedule.at(t, torch.empty((), dtype=torch.float64)))
    if alpha == 0:
        raise Refused(f"the guess's variance cannot be told from the noise at t = {float(t):g}, where alpha = 0")
    return max(0.0, (sigma / alpha) ** 2 * (1 - gamma))


def _error(denoiser: Denoiser, x_0: Tensor, t: Tensor, random: Random, batch: int, cond: Mapping[str, Any]) -> float:
    return _mean(lambda x, x_t, guess: guess.mean - x, denoiser, x_0, t, random, batch, cond)


def _score(denoiser: Denoiser, x_0: Tensor, t: Tensor, random: Random, batch: int, cond: Mapping[str, Any]) -> float:
    return variance(denoiser, t, noise_power(denoiser, x_0, t, random, batch, **cond))


def _mean(
    element: Callable[[Tensor, Tensor, Any], Tensor],
    denoiser: Denoiser,
    x_0: Tensor,
    t: Tensor | float,
    random: Random,
    batch: int,
    cond: Mapping[str, Any],
) -> float:
    """The mean square of element(x_0, x_t, guess) over all data and elements."""
    process: Any = denoiser.process
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(x_0), batch):
            rows = slice(start, start + batch)
            x = x_0[rows]
            x_t = process.marginal(x, t).sample(random.at(torch.arange(start, start + len(x))))
            guess = denoiser(x_t, t, **{name: value[rows] for name, value in cond.items()})
            total += float(element(x, x_t, guess).double().square().sum())
    return total / x_0.numel()


_RULES: dict[str, Callable[..., float]] = {"error": _error, "score": _score}
