"""Masked diffusion's log-linear schedule: the chance to be replaced grows linearly."""

from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import Mixing


@dataclass(frozen=True)
class LogLinear(Mixing):
    """sigma = (1 - floor) t, alpha = 1 - sigma: the total noise -log alpha is -log(1 - (1 - floor) t).

    Source: arXiv:2406.07524, app. E.1 (floor 1e-3).
    """

    floor: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.floor < 1:
            raise Refused(f"log_linear needs a floor in [0, 1), not {self.floor:g}")

    def sigma(self, t: Tensor) -> Tensor:
        return (1 - self.floor) * t.double()

    def time(self, log_snr: Tensor) -> Tensor:
        return (torch.sigmoid(-log_snr.double() / 2) / (1 - self.floor)).clamp(max=1)
