"""Flow matching's straight path from data to noise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.schedule import Mixing


@dataclass(frozen=True)
class FlowSchedule(Mixing):
    """alpha = 1 - t, sigma = t.

    Source: arXiv:2210.02747, eq. 20 (their time runs the other way), arXiv:2209.03003. The network's time is 1000 t.
    """

    def sigma(self, t: Tensor) -> Tensor:
        return t.double()

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr.double() / 2)

    def index(self, t: Tensor) -> Tensor:
        return 1000 * t.double()
