"""Uniform: every time is as likely."""

from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution, on_table, refuse_t_min


@dataclass(frozen=True)
class Uniform(TimeDistribution):
    """t uniform on (t_min, 1); on a table of T steps t = i/T, i uniform in 1 ... T (arXiv:2006.11239, alg. 1;
    t_min arXiv:2011.13456, app. C).

    ends: the share of times that are 1, and the share that are t_min, exactly. Of a pair of even times next to none is
    near the whole path, which is what a flow map in one step is asked for.
    Raises Refused unless ends is 0 or more and below a half, and t_min in [0, 1).
    """

    t_min: float = 1e-5
    ends: float = 0.0

    def __post_init__(self) -> None:
        refuse_t_min(self.t_min, "uniform")
        if not 0 <= self.ends < 0.5:
            raise Refused(f"uniform times have a share of 0 or more, below a half, at each end, not {self.ends:g}")

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        share = (random.uniform((count,)) - self.ends) / (1 - 2 * self.ends)
        return on_table(share.clamp(0, 1), schedule, self.t_min)
