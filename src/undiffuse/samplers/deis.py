"""DEIS: the noise in the last states, extrapolated by a polynomial in time, one call a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.linear_multistep import combined, lagrange, level, mean, newest_where
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule

_NOISE = 1e15  # sigma/alpha of pure noise, where it is infinite


@dataclass(frozen=True)
class DEIS(Sampler):
    """x_s = (alpha_s/alpha_t) x_t + alpha_s integral of eps dr from r_t to r_s,  r = sigma/alpha,
    eps the polynomial through the noise in the last `order` states, (x - alpha guess)/sigma.

    variable: what eps is a polynomial of: "t", the time of the schedule (the paper's tAB), "rho", r itself (rhoAB; of
    order 4 the linear multistep method of k-diffusion), or "log_rho", log r, as in diffusers. The integrals are by
    quadrature in asinh(r), exact up to rounding. The first steps have the order that their history allows; with
    "log_rho" a step that lands on sigma = 0 has order 1. "t" depends on the schedule's own time, which other solvers do
    not. Source: arXiv:2204.13902, eq. 14 and 15.
    """

    order: int = 3
    variable: Literal["t", "rho", "log_rho"] = "t"

    aliases: ClassVar[dict[str, dict[str, Any]]] = {
        "tab_deis": {},
        "deis_tab": {},
        "deis_multistep": {"variable": "log_rho"},
        "lms": {"order": 4, "variable": "rho"},
        "k_lms": {"order": 4, "variable": "rho"},
        "lms_discrete": {"order": 4, "variable": "rho"},
    }
    batch_times: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3, 4):
            raise Refused(f"deis has order 1 to 4, not {self.order}")

    @property
    def convergence_order(self) -> int:
        return self.order

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        guess: Any = denoiser(x_t, t, **cond).mean_only()
        first = process.bridge(x_t, guess, s, t, process.keep(s, t, x_t))
        times, noises = memory or ((), ())
        times, noises = (t, *times), (process.noise(x_t, guess, t), *noises)
        remember = times[: self.order - 1], noises[: self.order - 1]
        if len(times) == 1:
            return first, remember
        schedule: Schedule = process.schedule
        shares = self._shares(schedule, times, s)
        change = combined((shares[0] - 1, *shares[1:]), noises)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (schedule.at(u, x_t) for u in (t, s))
        return Normal(first.mean + (sigma_s - alpha_s * sigma_t / alpha_t).to(x_t) * change, 0.0), remember

    def _shares(self, schedule: Schedule, times: Sequence[Tensor], s: Tensor) -> Sequence[Tensor]:
        """The mean over r, from the newest of these times to s, of each one's polynomial."""
        begin, end = ((-level(schedule, u)).exp().asinh() for u in (times[0], s))
        if self.variable == "t":
            return mean(begin, end, lambda y: (y.cosh(), lagrange(times, schedule.time(-2 * y.sinh().log()))))
        if self.variable == "rho":
            rhos = [(-level(schedule, u)).exp().clamp(max=_NOISE) for u in times]
            return mean(begin, end, lambda y: (y.cosh(), lagrange(rhos, y.sinh())))
        lands = end == 0
        end = torch.where(lands, begin / 2, end)
        nodes = [-level(schedule, u) for u in times]
        return newest_where(lands, mean(begin, end, lambda y: (y.cosh(), lagrange(nodes, y.sinh().log()))))
