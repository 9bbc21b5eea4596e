"""Logistic: noise levels at equal quantiles of a logistic law, the default for values."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.grid import Grid, ending_at_data, line, noise_ends, positive
from undiffuse.core.schedule import Schedule
from undiffuse.grids.even import Even


@dataclass(frozen=True)
class Logistic(Grid):
    """log(sigma/alpha) at even quantiles of a logistic law:  sigma/alpha = center (q / (1 - q))^spread,
    q even from t = 1 down to 0, where sigma = 0.

    Dense around `center`, where data takes shape, with no cut at either end;
    center = spread = 1 is even in flow matching's t.
    Where a schedule jumps at 0 and the last q but one lies below its lowest noise, q is even down to that noise.
    As many steps as the schedule's table has: the table itself.
    The defaults are chosen by measurement (benchmarks/accuracy.py); they suit data of about unit spread.
    """

    center: float = 0.9
    spread: float = 1.3

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        if steps == schedule.steps:
            return Even()(schedule, steps)
        start, least = torch.sigmoid((noise_ends(schedule) - math.log(self.center)) / self.spread)
        q = line(start, torch.maximum(start / positive(steps), least), steps)
        return ending_at_data(schedule.time(-2 * (math.log(self.center) + self.spread * torch.logit(q))), start=1.0)
