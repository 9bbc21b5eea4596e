"""EDM's churn: a little fresh noise before a deterministic step."""

import logging
import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler

MOST = math.sqrt(2) - 1  # EDM's bound on gamma


@dataclass(frozen=True)
class Churned(Sampler):
    """Before a step, raise the noise level sigma/alpha by the factor 1 + churn with noise of std `noise` (S_noise),
    where it lies between `lowest` and `highest` (S_tmin and S_tmax).

    churn: EDM's gamma = S_churn / steps, at most sqrt(2) - 1. No level is raised above the schedule's noisiest: steps
    from there have no churn, those from a little below less of it, and a warning says so once; a `highest` of the
    noisiest over 1 + churn, or less, leaves them out. Source: arXiv:2206.00364, alg. 2.
    """

    churn: float = 0.0
    noise: float = 1.0
    lowest: float = 0.0
    highest: float = 1e9

    def __post_init__(self) -> None:
        if not 0 <= self.churn <= MOST + 1e-9 or self.noise <= 0 or not 0 <= self.lowest <= self.highest:
            raise Refused(
                "churn is EDM's S_churn / steps, from 0 to sqrt(2) - 1, "
                f"with noise > 0 and 0 <= lowest <= highest; not {self}"
            )

    @property
    def batch_times(self) -> bool:  # type: ignore[override]
        return self.churn == 0  # fresh noise has a level, which is one number

    def churned(self, process: Gaussian, x_t: Tensor, t: Tensor, random: Random) -> tuple[Tensor, Tensor]:
        """The noisier batch and its time; both unchanged without churn and where the schedule has no noisier time."""
        if self.churn == 0:
            return x_t, t
        schedule = process.schedule
        level, noisiest = ((-schedule.log_snr(u) / 2).exp().item() for u in (t, torch.ones_like(t)))
        if not self.lowest <= level <= self.highest:
            return x_t, t
        if level * (1 + self.churn) > noisiest * (1 + 1e-9):
            _say_capped(self.churn, noisiest)
        later = schedule.time(schedule.log_snr(t) - 2 * math.log1p(self.churn))
        if float(later) <= float(t):
            return x_t, t
        alpha_t, alpha_later = schedule.alpha(t), schedule.alpha(later)
        noisier = process.bridge(x_t, process.point(x_t), later, t, keep=alpha_later / alpha_t)
        return Normal(noisier.mean, noisier.var * self.noise**2).sample(random), later


@cache
def _say_capped(churn: float, noisiest: float) -> None:
    logging.getLogger("undiffuse").warning(
        "churn %g is capped at the schedule's noisiest level, sigma/alpha = %.4g: steps from above %.4g get less, or "
        "none; highest = %.4g leaves them out",
        churn,
        noisiest,
        *2 * (noisiest / (1 + churn),),
    )
