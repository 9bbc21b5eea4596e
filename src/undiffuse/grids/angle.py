"""Angle: equal steps of the angle between signal and noise."""

import math
from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid, ending_at_data, line, noise_ends, positive
from undiffuse.core.schedule import Schedule
from undiffuse.grids.even import Even


@dataclass(frozen=True)
class Angle(Grid):
    """atan(sigma / (alpha data_std)) in equal steps from t = 1 down to 0, where sigma = 0.

    For data N(0, data_std^2) no grid has a smaller error by DDIM; with data_std = 1 it is even in t on the schedule
    alpha = cos(pi t / 2) of arXiv:2202.00512. Every second time of 2N steps is one of N steps, unless the schedule
    jumps at 0 and the last step would begin below its lowest noise: the angles are even down to that noise then.
    As many steps as the schedule's table has: the table itself.
    """

    data_std: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.data_std < math.inf:
            raise Refused(f"angle needs data_std > 0, not {self.data_std:g}")

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        if steps == schedule.steps:
            return Even()(schedule, steps)
        start, least = (noise_ends(schedule).exp() / self.data_std).atan()
        angles = line(start, (start / positive(steps)).maximum(least), steps)
        return ending_at_data(schedule.time(-2 * (self.data_std * angles.tan()).log()), start=1.0)
