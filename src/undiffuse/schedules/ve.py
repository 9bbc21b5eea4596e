"""The variance-exploding SDE: noise grows geometrically in continuous time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import LEAST, VarianceExploding


@dataclass(frozen=True)
class VE(VarianceExploding):
    """sigma = sigma_min (sigma_max / sigma_min)^t for t in (0, 1], jumping to 0 at t = 0:
    the last step of a grid lands on the clean guess.

    Source: arXiv:2011.13456, eq. 31 (0.01 and 50).
    """

    noisiest: ClassVar[Mapping[str, float]] = MappingProxyType({"sigma_max": 50})

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    aliases: ClassVar[tuple[str, ...]] = ("ve_sde", "variance_exploding")

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise Refused(f"ve needs 0 < sigma_min < sigma_max, not {self.sigma_min:g} and {self.sigma_max:g}")

    def sigma(self, t: Tensor) -> Tensor:
        t = t.double()
        return torch.where(t > 0, self.sigma_min * (self.sigma_max / self.sigma_min) ** t, 0.0)

    def time(self, log_snr: Tensor) -> Tensor:
        position = (-log_snr.double() / 2 - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)
        return torch.where(log_snr == torch.inf, 0.0, position.clamp(LEAST, 1))
