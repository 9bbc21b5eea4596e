"""The variance-preserving SDE of score-based models."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import VariancePreserving


def integral(t: Tensor, beta_min: float, beta_max: float) -> Tensor:
    """The integral of beta(t) = beta_min + t (beta_max - beta_min) from 0 to t."""
    return beta_min * t + (beta_max - beta_min) * t**2 / 2


def integrated(area: Tensor, beta_min: float, beta_max: float) -> Tensor:
    """The t at which `integral` is this area: 0 for 0, at most 1."""
    slope = beta_max - beta_min
    area = area.clamp(max=beta_min + slope / 2)
    return 2 * area / (beta_min + (beta_min**2 + 2 * slope * area).sqrt())


@dataclass(frozen=True)
class VP(VariancePreserving):
    """dx = -beta(t)/2 x dt + sqrt(beta(t)) dw, beta linear from beta_min to beta_max:
    log alpha_bar = -(beta_min t + (beta_max - beta_min) t^2/2).

    Source: arXiv:2011.13456, eq. 32 and 33 (0.1 and 20). The network's time is 999 t, as in the paper's code.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    aliases: ClassVar[tuple[str, ...]] = ("vp_sde", "variance_preserving")

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise Refused(f"vp needs 0 < beta_min <= beta_max, not {self.beta_min:g} and {self.beta_max:g}")

    def log_alpha_bar(self, t: Tensor) -> Tensor:
        return -integral(t.double(), self.beta_min, self.beta_max)

    def time(self, log_snr: Tensor) -> Tensor:
        area = -torch.nn.functional.logsigmoid(log_snr.double())  # -log alpha_bar
        return integrated(area, self.beta_min, self.beta_max)

    def index(self, t: Tensor) -> Tensor:
        return 999 * t.double()
