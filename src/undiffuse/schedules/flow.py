"""Flow matching's straight path from data to noise."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.schedule import Mixing


@dataclass(frozen=True)
class FlowSchedule(Mixing):
    """alpha = 1 - t, sigma = t.

    Source: arXiv:2210.02747, eq. 20 (their time runs the other way), arXiv:2209.03003. The network's time is 1000 t.
    """

    aliases: ClassVar[tuple[str, ...]] = ("flow_matching", "rectified_flow", "optimal_transport", "cond_ot")

    def sigma(self, t: Tensor) -> Tensor:
        return t.double()

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr.double() / 2)

    def index(self, t: Tensor) -> Tensor:
        return 1000 * t.double()
