"""Even: equal steps of t."""

from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.grid import Grid, positive
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True)
class Even(Grid):
    """t = 1 - i/steps."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        return torch.linspace(1, 0, positive(steps) + 1, dtype=torch.float64)
