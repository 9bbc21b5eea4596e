"""Trailing: every k-th entry of the table, counted from pure noise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.grid import Grid, on_table, positive
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True)
class Trailing(Grid):
    """Table indices round(T - i T/steps) - 1: always starts at pure noise (arXiv:2305.08891, table 2)."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        length = schedule.steps or 1000
        return on_table(
            (length - torch.arange(positive(steps) + 1, dtype=torch.float64) * length / steps).round(), length
        )
