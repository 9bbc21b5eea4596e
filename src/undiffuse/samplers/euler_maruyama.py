"""Euler-Maruyama: the reverse-time stochastic differential equation by straight steps."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class EulerMaruyama(Sampler):
    """x_s = x_t - (f x_t - g^2 score) (t - s) + g sqrt(t - s) noise,  dx = f x dt + g dw the forward process.

    Weak order 1: twice the steps halve the error of the law. The step onto sigma = 0 lands on the guess, without noise.
    Refused where alpha = 0, where the drift is infinite. Source: arXiv:2011.13456, eq. 6 and app. D.
    """

    aliases: ClassVar[tuple[str, ...]] = ("em",)
    grid: ClassVar[str] = "even"
    default_steps: ClassVar[int] = 1000

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        if float(process.schedule.alpha(t)) == 0:
            raise Refused(
                f"euler_maruyama cannot step from t = {float(t):g}, where alpha = 0: the drift of the process is "
                "infinite; use reverse_diffusion or ancestral, or start at a t where alpha > 0"
            )
        guess: Any = denoiser(x_t, t, **cond)
        if float(process.schedule.sigma(s)) == 0:
            return guess.mean_only(), None
        drift, diffusion = process.drift_and_diffusion(t, x_t)
        length = float(t) - float(s)
        pushed = float(drift) * x_t - float(diffusion) * process.score(x_t, guess, t)
        return Normal(x_t - length * pushed, length * diffusion), None
