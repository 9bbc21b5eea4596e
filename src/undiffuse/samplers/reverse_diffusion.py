"""Reverse diffusion: the forward process in discrete steps, each step reversed in its own form."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class ReverseDiffusion(Sampler):
    """x_s = (2 - r) x_t + v score + sqrt(v) noise,  x_t = r x_s + sqrt(v) noise the forward step from s to t.

    r = alpha_t/alpha_s and v = sigma_t^2 - r^2 sigma_s^2: sqrt(1 - beta) and beta on a table, 1 and
    sigma_t^2 - sigma_s^2 where alpha = 1. Weak order 1; the step onto sigma = 0 lands on the guess, without noise.
    Source: arXiv:2011.13456, eq. 46, and alg. 2 and 3 (the predictors).
    """

    grid: ClassVar[str] = "even"
    default_steps: ClassVar[int] = 1000

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        guess: Any = denoiser(x_t, t, **cond)
        if float(process.schedule.sigma(s)) == 0:
            return guess.mean_only(), None
        ratio = float(process.schedule.alpha(t) / process.schedule.alpha(s))
        variance = process.kernel_variance(s, t, x_t)
        return Normal((2 - ratio) * x_t + variance * process.score(x_t, guess, t), variance), None
