"""NCSN's ladder: a finite geometric sequence of noise levels."""

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
class Geometric(VarianceExploding):
    """sigma_i = sigma_min (sigma_max / sigma_min)^((i - 1) / (steps - 1)) at t = i/steps, i = 1 ... steps; 0 at t = 0;
    geometric in between.

    Source: arXiv:1907.05600, sec. 4.2 (1 to 0.01 in 10 levels; arXiv:2006.11239 counts from the other end).
    """

    noisiest: ClassVar[Mapping[str, float]] = MappingProxyType({"sigma_max": 50})

    steps: int = 10
    sigma_min: float = 0.01
    sigma_max: float = 1.0

    aliases: ClassVar[tuple[str, ...]] = ("ncsn",)

    def __post_init__(self) -> None:
        if self.steps < 2 or not 0 < self.sigma_min < self.sigma_max:
            raise Refused(
                "geometric needs 2 levels or more and 0 < sigma_min < sigma_max, "
                f"not {self.steps} levels from {self.sigma_min:g} to {self.sigma_max:g}"
            )

    def sigma(self, t: Tensor) -> Tensor:
        t = t.double()
        position = (t * self.steps - 1) / (self.steps - 1)
        return torch.where(t > 0, self.sigma_min * (self.sigma_max / self.sigma_min) ** position, 0.0)

    def time(self, log_snr: Tensor) -> Tensor:
        position = (-log_snr.double() / 2 - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)
        time = (position.clamp(max=1) * (self.steps - 1) + 1) / self.steps
        return torch.where(log_snr == torch.inf, 0.0, time.clamp(min=LEAST))
