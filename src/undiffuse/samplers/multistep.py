"""DPM-Solver++ multistep: the guess, extrapolated from the last ones, one call a step."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class Multistep(Sampler):
    """x_s = keep x_t + pull D + fresh noise, D the guess extrapolated in l = log(alpha/sigma) from the last `order`
    ones.

    order 1: D = D_0 (DDIM);  2: D = D_0 + (D_0 - D_1) h/(2 h_0);  3:
    the quadratic through D_0, D_1, D_2 integrated against e^l.
    h = l_s - l_t is this step's length, h_0 the last one's. Order 2 is DPM-Solver++(2M), with eta = 1 SDE-DPM-Solver++.
    Order 3 integrates its quadratic exactly; the published third order gives the quadratic's curvature half its weight.
    The first steps have the order that their history allows, and one that lands on sigma = 0 has order 1.
    Source: arXiv:2211.01095, alg. 2 and eq. 14.
    """

    order: int = 2
    eta: float = 0.0

    aliases: ClassVar[dict[str, dict[str, Any]]] = {
        "dpm++": {},
        "dpm_solver++": {},
        "dpm_solver_multistep": {},
        "dpm++2m": {},
        "dpm_solver++2m": {},
        "k_dpmpp_2m": {},
        "dpm++3m": {"order": 3},
        "dpm_solver++3m": {"order": 3},
        "dpm++2m_sde": {"eta": 1.0},
        "sde_dpm++2m": {"eta": 1.0},
        "sde_dpm_solver++": {"eta": 1.0},
        "k_dpmpp_2m_sde": {"eta": 1.0},
    }

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3) or not 0 <= self.eta <= 1:
            raise Refused(
                f"multistep has order 1, 2 or 3 and eta in [0, 1], not order {self.order} and eta {self.eta:g}"
            )

    @property
    def batch_times(self) -> bool:
        return True

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        guess: Any = denoiser(x_t, t, **cond)
        levels = [process.schedule.log_snr(u) / 2 for u in (t, s)]
        level, target = (_wide(each, x_t) for each in levels)
        history = ((level, guess.mean), *(memory or ()))[: self.order]
        ahead = guess.mean
        if bool(torch.isfinite(levels[1]).any()):  # asked of the host's times
            ahead = torch.where(
                torch.isfinite(target), _extrapolate(history, target - level, self.eta).to(ahead), ahead
            )
        return process.bridge(x_t, Normal(ahead, 0.0), s, t, process.keep(s, t, x_t, self.eta)), history


def _wide(level: Tensor, like: Tensor) -> Tensor:
    """One number for all samples as it is, one a sample shaped to multiply `like`, both in float64."""
    return level.to(like.device).reshape(-1, *(1,) * (like.ndim - 1)) if level.ndim else level


def _extrapolate(history: tuple[tuple[Tensor, Tensor], ...], h: Tensor, eta: float) -> Tensor:
    """The constant D that moves x as the interpolated guess would; history: (l, guess), newest first."""
    levels, guesses = zip(*history, strict=True)
    if len(history) == 1:
        return guesses[0]
    r_0 = (levels[0] - levels[1]) / h
    slope_0 = (guesses[0] - guesses[1]) / r_0
    if len(history) == 2:
        return guesses[0] + slope_0 / 2
    r_1 = (levels[1] - levels[2]) / h
    slope_1 = (guesses[1] - guesses[2]) / r_1
    slope = torch.where(torch.isfinite(r_1), slope_0 + r_0 / (r_0 + r_1) * (slope_0 - slope_1), slope_0)
    curve = (slope_0 - slope_1) / (r_0 + r_1)  # half the second derivative, times h^2
    z = h * (1 + eta)
    total = -torch.expm1(-z)  # the integral of e^(u - z) over u = 0 ... z; of u/z: linear; of (u/z)^2: 1 - 2 linear / z
    linear = 1 - total / z
    return guesses[0] + linear / total * slope + (1 - 2 * linear / z) / total * curve
