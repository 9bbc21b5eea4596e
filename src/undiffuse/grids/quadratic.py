"""Quadratic: DDIM's quadratic spacing of the table's entries."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.grid import Grid, more_than_one, on_table, positive
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True)
class Quadratic(Grid):
    """Table indices floor(linspace(0, sqrt(0.8 T), steps)^2): DDIM's quadratic spacing (arXiv:2010.02502, app. D.2).

    Raises Refused where the formula repeats an index, which the paper's code runs twice.
    """

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        length = schedule.steps or 1000
        more_than_one("quadratic", positive(steps))
        indices = (torch.linspace(0, math.sqrt(0.8 * length), steps, dtype=torch.float64) ** 2).floor().flip(0)
        return on_table(torch.cat([indices + 1, torch.zeros(1, dtype=torch.float64)]), length)
