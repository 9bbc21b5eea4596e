"""Log-uniform: every noise level is as likely on a logarithmic scale."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution, refuse_t_min


@dataclass(frozen=True)
class LogUniform(TimeDistribution):
    """log(sigma/alpha) uniform between the schedule's noise at t_min and at t = 1, log-SNR clipped to +-limit.

    The density of t is in proportion to -d log SNR/dt where log-SNR lies inside +-limit, and 0 elsewhere. So on a
    continuous schedule the mean of plain noise weighting, times the range of log-SNR drawn from, is the likelihood's
    integral over that range (arXiv:2101.09258, sec. 5). On a table it is the level nearest in log-SNR, and the mean is
    the trapezoidal rule's over the table's levels from t_min on.
    """

    t_min: float = 1e-5
    limit: float = 20.0

    def __post_init__(self) -> None:
        refuse_t_min(self.t_min, "log_uniform")
        if not self.limit > 0:
            raise Refused(f"log_uniform needs limit > 0, not {self.limit:g}")

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        times = torch.tensor([self.t_min, 1.0], dtype=torch.float64)
        if schedule.steps:
            first = max(1, math.ceil(self.t_min * schedule.steps))
            times = torch.arange(first, schedule.steps + 1, dtype=torch.float64) / schedule.steps
        levels = schedule.log_snr(times).clamp(-self.limit, self.limit)
        drawn = levels[0] + (levels[-1] - levels[0]) * random.uniform((count,))
        if not schedule.steps:
            return schedule.time(drawn).clamp(min=1e-9)
        halfway = (levels[1:] + levels[:-1]) / 2
        return times[torch.searchsorted(-halfway, -drawn)]
