"""Masked diffusion's log-linear schedule: the chance to be replaced grows linearly."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import Mixing
from undiffuse.core.tabulated import check_steps


@dataclass(frozen=True)
class LogLinear(Mixing):
    """sigma = (1 - floor) t, alpha = 1 - sigma: the total noise -log alpha is -log(1 - (1 - floor) t).

    floor 0 leaves nothing at t = 1: with steps T the chance to be kept is 1 - i/T, beta_i = 1/(T - i + 1) (arXiv:
    1503.03585, sec. 2.4.1). steps: of a table at t = i/T, which training, networks and bounds keep to; 0: continuous.
    Source: arXiv:2406.07524, app. E.1 (floor 1e-3).
    """

    noisiest: ClassVar[Mapping[str, float]] = MappingProxyType({"floor": 0})

    floor: float = 1e-3
    steps: int = 0

    def __post_init__(self) -> None:
        if self.steps:
            check_steps(self.steps)
        if not 0 <= self.floor < 1:
            raise Refused(f"log_linear needs a floor in [0, 1), not {self.floor:g}")

    def sigma(self, t: Tensor) -> Tensor:
        return (1 - self.floor) * t.double()

    def time(self, log_snr: Tensor) -> Tensor:
        return (torch.sigmoid(-log_snr.double() / 2) / (1 - self.floor)).clamp(max=1)
