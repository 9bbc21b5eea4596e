"""Listed: times given one by one."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid, positive
from undiffuse.core.schedule import ROUNDING, Schedule


@dataclass(frozen=True)
class Listed(Grid):
    """Given times that fall to 0, such as those that `undiffuse tune RUN variance --steps` finds.

    Raises Refused for times that do not fall inside [0, 1] to 0, and for another number of steps.
    """

    times: tuple[float, ...]

    def __post_init__(self) -> None:
        falls = all(s < t for t, s in pairwise(self.times))
        if len(self.times) < 2 or not falls or self.times[0] > 1 + ROUNDING or self.times[-1] != 0:
            raise Refused(f"listed times fall from at most 1 to 0, at least two of them; not {self.times}")

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        if positive(steps) != len(self.times) - 1:
            raise Refused(f"{len(self.times) - 1} steps are listed, not {steps}; take another grid for those")
        return torch.tensor(self.times, dtype=torch.float64).clamp(max=1)
