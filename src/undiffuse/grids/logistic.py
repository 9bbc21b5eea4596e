"""Logistic: noise levels at equal quantiles of a logistic law, the default for values."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid, ending_at_data, line, noise_ends, positive
from undiffuse.core.schedule import Schedule
from undiffuse.grids.even import Even


@dataclass(frozen=True)
class Logistic(Grid):
    """log(sigma/alpha) at even quantiles of a logistic law:  sigma/alpha = center (q / (1 - q))^spread,
    q even from t = 1 down to 0, where sigma = 0, but for the step onto 0, which is `last` times as long as the others.

    Dense around `center`, where data takes shape, with no cut at either end;
    center = spread = last = 1 is even in flow matching's t. The last step may be longer because the guesses stand still
    as the noise goes to 0.
    Where a schedule jumps at 0 and the last q but one lies below its lowest noise, q is even down to that noise.
    As many steps as the schedule's table has: the table itself.
    The defaults are chosen by measurement, on other mixtures than those of benchmarks/accuracy.py; they suit data of
    about unit spread.
    Raises Refused unless all three are above 0.
    """

    center: float = 0.83
    spread: float = 1.3
    last: float = 1.25

    def __post_init__(self) -> None:
        if not all(0 < each < math.inf for each in (self.center, self.spread, self.last)):
            raise Refused(
                "logistic needs center, spread and last above 0, not "
                f"{self.center:g}, {self.spread:g} and {self.last:g}"
            )

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        if steps == schedule.steps:
            return Even()(schedule, steps)
        start, least = torch.sigmoid((noise_ends(schedule) - math.log(self.center)) / self.spread)
        end = start * self.last / (positive(steps) - 1 + self.last)
        q = line(start, torch.maximum(end, least), steps)
        return ending_at_data(schedule.time(-2 * (math.log(self.center) + self.spread * torch.logit(q))), start=1.0)
