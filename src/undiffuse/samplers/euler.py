"""Euler: the probability-flow ODE by straight steps."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.samplers.churn import churn, gaussian


@dataclass(frozen=True)
class Euler(Sampler):
    """x_s = (sigma_s/sigma_t) x_t + (alpha_s - alpha_t sigma_s/sigma_t) guess:
    first order, one call a step, the same map in any linear coordinates
    (EDM's x/alpha over sigma/alpha, flow matching's straight path), so it equals DDIM with eta = 0.

    churn: EDM's gamma = S_churn / steps, the relative rise of the noise level before each step, at most sqrt(2) - 1;
    noise: S_noise.
    Source: arXiv:2206.00364, alg. 2 without the correction; arXiv:2210.02747, sec. 4.
    """

    churn: float = 0.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        if self.churn < 0 or self.noise <= 0:
            raise Refused(f"euler needs churn >= 0 and noise > 0, not {self.churn:g} and {self.noise:g}")

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process = gaussian(denoiser.process, "euler")
        x_t, t = churn(process, x_t, t, self.churn, self.noise, random)
        return process.bridge(x_t, denoiser(x_t, t, **cond).mean_only(), s, t, process.keep(s, t, x_t)), None
