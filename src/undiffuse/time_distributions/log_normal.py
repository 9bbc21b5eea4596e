"""Log-normal: EDM's noise levels for training."""

from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution, on_table


@dataclass(frozen=True)
class LogNormal(TimeDistribution):
    """log(sigma/alpha) normal with this mean and std (arXiv:2206.00364, table 1:
    -1.2 and 1.2), clipped to the schedule's range. Raises Refused unless std is above 0.
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise Refused(f"log_normal needs std > 0, not {self.std:g}")

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        level = self.mean + self.std * random.normal((count,), dtype=torch.float64)
        return on_table(schedule.time(-2 * level), schedule, 0.0).clamp(min=1e-9)
