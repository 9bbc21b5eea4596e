"""The sub-variance-preserving SDE: VP's mean with less noise."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import Schedule
from undiffuse.schedules.vp import integral, integrated


@dataclass(frozen=True)
class SubVP(Schedule):
    """alpha = exp(-B/2), sigma = 1 - exp(-B), B = beta_min t + (beta_max - beta_min) t^2/2.

    Source: arXiv:2011.13456, eq. 34 (0.1 and 20). The network's time is 999 t, as in the paper's code.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    aliases: ClassVar[tuple[str, ...]] = ("sub_vp_sde",)

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise Refused(f"subvp needs 0 < beta_min <= beta_max, not {self.beta_min:g} and {self.beta_max:g}")

    def alpha(self, t: Tensor) -> Tensor:
        return (-integral(t.double(), self.beta_min, self.beta_max) / 2).exp()

    def sigma(self, t: Tensor) -> Tensor:
        return -(-integral(t.double(), self.beta_min, self.beta_max)).expm1()

    def time(self, log_snr: Tensor) -> Tensor:
        """From alpha = (sqrt(1 + 4 r^2) - 1) / (2 r), the root of r = alpha / (1 - alpha^2), r^2 the ratio."""
        twice = 2 * (log_snr.double() / 2).exp()
        root = torch.hypot(torch.ones_like(twice), twice)
        missing = (1 + 1 / (root + twice)) / (1 + root)  # 1 - alpha, without cancellation near the data
        return integrated(-2 * (-missing).log1p(), self.beta_min, self.beta_max)

    def prior_std(self, t: Tensor) -> Tensor:
        return torch.ones_like(t.double())

    def index(self, t: Tensor) -> Tensor:
        return 999 * t.double()
