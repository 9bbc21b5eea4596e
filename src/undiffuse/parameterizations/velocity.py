"""Velocity: the network predicts a rotation of data and noise, which is defined at every noise level."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.parameterization import Parameterization


@dataclass(frozen=True)
class Velocity(Parameterization):
    """F = v = alpha noise - sigma x_0:  x_0 = (alpha x_t - sigma F) / (alpha^2 + sigma^2).
    Source: arXiv:2202.00512, app. D.
    """

    aliases: ClassVar[tuple[str, ...]] = ("v", "v_prediction", "v_pred", "velocity_prediction")

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = alpha**2 + sigma**2
        return alpha / total, -sigma / total, torch.ones_like(alpha)
