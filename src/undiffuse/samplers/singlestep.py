"""DPM-Solver++ singlestep: two or three calls inside a step, and nothing remembered between steps."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.broadcast import column
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.linear_multistep import combined, level, polynomial
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler

_FAR = -7.0  # the level, alpha/sigma = 0.0009, from which steps out of pure noise are divided


@dataclass(frozen=True)
class Singlestep(Sampler):
    """x_s = (sigma_s/sigma_t) x_t + pull D,  with guesses at levels l = log(alpha/sigma) inside the step.

    order 2 (DPM-Solver++ 2S): D is the guess half the way to l_s. order 3 (3S): D is the mean, weighed by e^l, of the
    line through the guesses at the start and at 2/3 of the way; the state there takes the line through the guesses at
    the start and at 1/3. `order` calls a step, but one in a step that lands on sigma = 0, which has order 1:
    order (steps - 1) + 1 calls in all.
    Source: arXiv:2211.01095, alg. 1; order 3 is arXiv:2206.00927, alg. 2, with the guess in the place of the noise.
    """

    order: int = 2

    aliases: ClassVar[dict[str, dict[str, Any]]] = {
        "dpm_solver_singlestep": {},
        "dpm++2s": {},
        "dpm_solver++2s": {},
        "k_dpmpp_2s": {},
        "dpm++3s": {"order": 3},
        "dpm_solver++3s": {"order": 3},
    }
    batch_times: ClassVar[bool] = True
    default_steps: ClassVar[int] = 10

    def __post_init__(self) -> None:
        if self.order not in (2, 3):
            raise Refused(f"singlestep has order 2 or 3, not {self.order}; of order 1 it is ddim")

    @property
    def convergence_order(self) -> int:
        return self.order

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        start, end = (level(process.schedule, u) for u in (t, s))
        first: Any = denoiser(x_t, t, **cond).mean_only()
        if bool(end.isinf().all()):  # asked of the host's times
            return process.bridge(x_t, first, s, t, process.keep(s, t, x_t)), None
        lands = end.isinf()
        end = torch.where(lands, start.clamp(min=_FAR) + 1, end)
        start = torch.maximum(start, (end - 1).clamp(max=_FAR))

        def guess_at(share: float, ahead: Tensor) -> tuple[Tensor, Tensor]:
            """The level at this share of the way, and the guess in the state that the guess `ahead` leads to."""
            inside = start + share * (end - start)
            u = process.schedule.time(2 * inside)
            state: Normal = process.bridge(x_t, Normal(ahead, 0.0), u, t, process.keep(u, t, x_t))
            return inside, denoiser(state.mean, u, **cond).mean

        if self.order == 2:
            _, ahead = guess_at(1 / 2, first.mean)
        else:
            third, guess = guess_at(1 / 3, first.mean)
            shares = polynomial((start, third), start, start + 2 / 3 * (end - start))
            two_thirds, guess = guess_at(2 / 3, combined(shares, (first.mean, guess)))
            ahead = combined(polynomial((start, two_thirds), start, end), (first.mean, guess))
        ahead = torch.where(column(lands, ahead), first.mean, ahead)
        return process.bridge(x_t, Normal(ahead, 0.0), s, t, process.keep(s, t, x_t)), None
