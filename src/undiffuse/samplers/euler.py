"""Euler: the probability-flow ODE by straight steps."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.random import Random
from undiffuse.samplers.churn import Churned


@dataclass(frozen=True)
class Euler(Churned):
    """x_s = (sigma_s/sigma_t) x_t + (alpha_s - alpha_t sigma_s/sigma_t) guess:
    first order, one call a step, the same map in any linear coordinates
    (EDM's x/alpha over sigma/alpha, flow matching's straight path), so it equals DDIM with eta = 0.

    churn, noise, lowest, highest: EDM's fresh noise before each step (S_churn / steps, S_noise, S_tmin, S_tmax).
    Source: arXiv:2206.00364, alg. 2 without the correction; arXiv:2210.02747, sec. 4.
    """

    aliases: ClassVar[tuple[str, ...]] = ("k_euler", "euler_discrete", "flow_match_euler", "flow_match_euler_discrete")

    @property
    def convergence_order(self) -> int:
        return 0 if self.churn else 1

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        x_t, t = self.churned(process, x_t, t, random)
        return process.bridge(x_t, denoiser(x_t, t, **cond).mean_only(), s, t, process.keep(s, t, x_t)), None
