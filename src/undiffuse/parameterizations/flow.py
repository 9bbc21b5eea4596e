"""Flow: the network predicts the velocity of the straight path from data to noise."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.parameterization import Parameterization


@dataclass(frozen=True)
class FlowParameterization(Parameterization):
    """F = noise - x_0, the velocity of the straight path:  x_0 = (x_t - sigma F) / (alpha + sigma).
    Source: arXiv:2210.02747, eq. 23.
    """

    aliases: ClassVar[tuple[str, ...]] = ("flow_prediction", "flow_matching", "rectified_flow")

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = alpha + sigma
        return 1 / total, -sigma / total, torch.ones_like(alpha)
