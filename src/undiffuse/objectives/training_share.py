"""How much of a training is done, for objectives that change on the way; it is saved and resumed with the run."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(eq=False)
class TrainingShare:
    """reached: the step that training has come to. steps: how many there are; 0 outside of a training."""

    reached: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    steps: int = 0

    @property
    def done(self) -> float:
        """From 0 to 1; outside of a training 1."""
        return min(1.0, int(self.reached) / self.steps) if self.steps else 1.0
