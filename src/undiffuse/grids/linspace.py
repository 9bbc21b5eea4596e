"""Linspace: entries of the table from one end to the other."""

from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.grid import Grid, on_table, positive
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True)
class Linspace(Grid):
    """Table indices round(linspace(T - 1, 0, steps)): both ends of the table are visited (arXiv:2102.09672, sec. 4)."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        length = schedule.steps or 1000
        indices = torch.linspace(length - 1, 0, positive(steps), dtype=torch.float64).round()
        return on_table(torch.cat([indices + 1, torch.zeros(1, dtype=torch.float64)]), length)
