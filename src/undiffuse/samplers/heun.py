"""Heun: the probability-flow ODE by the trapezoidal rule, EDM's sampler."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.random import Random
from undiffuse.samplers.churn import Churned


@dataclass(frozen=True)
class Heun(Churned):
    """x_s = c (x_t + (sigma_s/c - sigma_t)(d_t + d_s)/2),  d = noise - k guess,  c = alpha_s + k sigma_s,
    k = (1 - alpha_t)/sigma_t.

    Second order; two calls a step, one in the last (2 steps - 1 in all).
    The line through (alpha, sigma) chosen by k makes it EDM's step where alpha = 1 and
    flow matching's where alpha + sigma = 1, and leaves no division by alpha.
    churn, noise, lowest, highest: EDM's fresh noise before each step (S_churn / steps, S_noise, S_tmin, S_tmax).
    Source: arXiv:2206.00364, alg. 1 and 2.
    """

    aliases: ClassVar[tuple[str, ...]] = ("k_heun", "heun_discrete", "edm", "edm_heun")

    @property
    def convergence_order(self) -> int:
        return 0 if self.churn else 2

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        x_t, t = self.churned(process, x_t, t, random)
        guess = denoiser(x_t, t, **cond).mean_only()
        euler = process.bridge(x_t, guess, s, t, process.keep(s, t, x_t))
        alpha_t, sigma_t = process.schedule.at(t, x_t)
        alpha_s, sigma_s = process.schedule.at(s, x_t)
        lands = sigma_s == 0  # there the line ends in the guess
        if bool((process.schedule.sigma(s) == 0).all()):  # asked of the host's times
            return euler, None
        k = (1 - alpha_t) / sigma_t
        c = alpha_s + k * sigma_s
        again = denoiser(euler.mean, s, **cond)
        slope = process.noise(x_t, guess, t) - k * guess.mean + process.noise(euler.mean, again, s) - k * again.mean
        x_s = c * x_t + (sigma_s - c * sigma_t) / 2 * slope
        return Normal(torch.where(lands, euler.mean, x_s.to(x_t)) if lands.ndim else x_s, 0.0), None
