"""Uniform: every time is as likely."""

from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution, on_table


@dataclass(frozen=True)
class Uniform(TimeDistribution):
    """t uniform on (t_min, 1); on a table of T steps t = i/T, i uniform in 1 ... T (arXiv:2006.11239, alg. 1;
    t_min arXiv:2011.13456, app. C).
    """

    t_min: float = 1e-5

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        return on_table(random.uniform((count,)), schedule, self.t_min)
