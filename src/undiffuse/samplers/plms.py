"""PLMS: the noise in the last states, extrapolated as if its steps were even, one call a step and two in the first."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler

# of Adams and Bashforth: shares of the newest noise and of those before it
_SHARES = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


@dataclass(frozen=True)
class PLMS(Sampler):
    """x_s = (alpha_s/alpha_t) x_t + (sigma_s - alpha_s sigma_t/alpha_t) eps,
    eps = (55 e_0 - 59 e_1 + 37 e_2 - 9 e_3)/24, e the noise in the last states, (x - alpha guess)/sigma, newest first.

    Shares of even steps, whatever the grid: second order. The first step takes the mean of the noise at both its ends,
    the next two the shares of two and of three. It is the sampler that Stable Diffusion came with. A first step that
    starts from pure noise or lands on sigma = 0 has order 1. Source: arXiv:2202.09778, its pseudo linear multistep,
    without Runge-Kutta steps; the first step as in the code of latent diffusion.
    """

    aliases: ClassVar[tuple[str, ...]] = ("pndm", "pseudo_linear_multistep")
    default_steps: ClassVar[int] = 50

    @property
    def convergence_order(self) -> int:
        return 2

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (process.schedule.at(u, x_t) for u in (t, s))
        guess: Any = denoiser(x_t, t, **cond).mean_only()
        first = process.bridge(x_t, guess, s, t, process.keep(s, t, x_t))
        noise = process.noise(x_t, guess, t)
        if memory is None and (float(alpha_t) == 0 or float(sigma_s) == 0):
            return first, (noise,)
        noises: tuple[Tensor, ...] = (noise, *(memory or ()))
        if memory is None:
            ahead = (noise + process.noise(first.mean, denoiser(first.mean, s, **cond).mean_only(), s)) / 2
        else:
            shares = _SHARES[len(noises) - 1]
            ahead = torch.stack([share * each for share, each in zip(shares, noises, strict=True)]).sum(0)
        change = (sigma_s - alpha_s * sigma_t / alpha_t).to(x_t) * (ahead - noise)
        return Normal(first.mean + change, 0.0), noises[:3]
