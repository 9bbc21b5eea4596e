"""Particles: sequential Monte Carlo over any stochastic sampler, exact as their number grows."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.guidance.measurement import Measurement
from undiffuse.guidance.once import Memoised
from undiffuse.guidance.wrapping import Steered


@dataclass(frozen=True, eq=False)
class Particles(Steered):
    """Groups of `count` particles, each weighed by  psi_s(x_s) / psi_t(x_t) p(x_s given x_t) / q(x_s given x_t)  after
    every step and drawn anew in proportion (systematic resampling, where the effective number is below half).

    psi_t(x_t) = N(y; A guess(x_t), std^2 + r_t^2), r_t^2 = sigma^2/(alpha^2 + sigma^2), ends at the likelihood of x_0:
    the law of a group tends to the posterior given y as `count` grows, whatever the proposal q.
    sampler: gives p and must draw noise, as ancestral does; it remembers nothing, since particles change their past.
    proposal: a denoiser guided by the measurement, such as
    MMPS, whose steps are q; none: p itself, which needs many more particles. A batch holds whole groups, one after the
    other: all particles of a group are returned, and they depend on one another.
    Raises Refused for a batch of no whole groups, a measurement without noise, and a sampler that draws none.
    Source: arXiv:2306.17775, alg. 1.
    """

    sampler: Sampler
    measurement: Measurement
    count: int = 64
    proposal: Denoiser | None = None

    default_steps: ClassVar[int] = 250

    def __post_init__(self) -> None:
        if self.count < 2:
            raise Refused(f"particles needs a count of 2 or more, not {self.count}")
        if self.measurement.std == 0:
            raise Refused("particles weighs by the measurement's noise, and its std is 0: give it a small one")

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        if len(x_t) % self.count:
            raise Refused(f"a batch of {len(x_t)} has no whole groups of {self.count} particles")
        weight, psi = memory or (torch.zeros(len(x_t), dtype=torch.float64, device=x_t.device), 0.0)
        watched = Memoised(denoiser)
        now = self._psi(watched.at(x_t, x_t, t, cond).mean, denoiser, t)
        weight = weight + now - psi
        chosen, weight = self._resampled(weight, random.fold(0))
        if chosen is not None:
            x_t, now, watched = x_t[chosen], now[chosen], Memoised(denoiser)
        belief, _ = self.sampler.step(watched, x_t, t, s, None, random=random.fold(1), **cond)
        if float(s) == 0:
            x_0 = belief.sample(random.fold(2))
            chosen, _ = self._resampled(weight + self._psi(x_0, denoiser, s) - now, random.fold(3), always=True)
            return denoiser.process.point(x_0[chosen]), None
        if belief.certain:
            raise Refused("particles needs a sampler that draws noise, such as ancestral")
        if self.proposal is None:
            x_s = belief.sample(random.fold(2))
        else:
            guided, _ = self.sampler.step(self.proposal, x_t, t, s, None, random=random.fold(1), **cond)
            x_s = guided.sample(random.fold(2))
            weight = weight + (belief.log_prob(x_s) - guided.log_prob(x_s)).double()
        return denoiser.process.point(x_s), (weight, now)

    def _psi(self, guess: Tensor, denoiser: Denoiser, t: Tensor) -> Tensor:
        """log psi_t in float64, (batch,), up to what all share."""
        alpha, sigma = (float(c) for c in denoiser.process.schedule.at(t, guess))
        var = self.measurement.std**2 + sigma**2 / (alpha**2 + sigma**2)
        r = self.measurement.residual(guess).double().flatten(1)
        return -0.5 * (r.square().sum(1) / var + r.shape[1] * math.log(var))

    def _resampled(self, weight: Tensor, random: Random, always: bool = False) -> tuple[Any, Tensor]:
        """Which particles go on, none for all as they are, and their log weights."""
        share = weight.reshape(-1, self.count).softmax(1)
        poor = 1 / share.square().sum(1) < self.count / 2
        if not always and not bool(poor.any()):
            return None, weight
        groups = torch.arange(len(share), device=weight.device)
        start = random.uniform((len(weight),), device=weight.device).reshape(-1, self.count)[:, :1]
        places = (start + torch.arange(self.count, device=weight.device)) / self.count
        picked = torch.searchsorted(share.cumsum(1), places).clamp(max=self.count - 1)
        own = torch.arange(self.count, device=weight.device).expand_as(picked)
        picked = torch.where((poor | always)[:, None], picked, own)
        left = torch.where((poor | always)[:, None], 0.0, weight.reshape(-1, self.count))
        return (groups[:, None] * self.count + picked).flatten(), left.flatten()
