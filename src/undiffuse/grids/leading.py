"""Leading: every k-th entry of the table, counted from the data, DDIM's uniform spacing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid, more_than_one, on_table, positive
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True)
class Leading(Grid):
    """Table indices 0, k, 2k ..., k = T // steps: DDIM's uniform spacing,
    which never visits the noisiest step (arXiv:2010.02502, released code).
    """

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        length = schedule.steps or 1000
        if positive(steps) > length:
            raise Refused(f"leading has at most {length} steps here, not {steps}")
        more_than_one("leading", steps)
        indices = torch.arange(steps, dtype=torch.float64).flip(0) * (length // steps)
        return on_table(torch.cat([indices + 1, torch.zeros(1, dtype=torch.float64)]), length)
