"""Noise: the network predicts the noise that was added."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.parameterization import Parameterization, needs_signal


@dataclass(frozen=True)
class Noise(Parameterization):
    """F = noise:  x_0 = (x_t - sigma F) / alpha. Refused where alpha = 0, where the noise says nothing of the data.

    Source: arXiv:2006.11239, eq. 11.
    """

    aliases: ClassVar[tuple[str, ...]] = ("epsilon", "eps", "epsilon_prediction", "eps_prediction", "noise_prediction")

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        needs_signal(alpha, "noise")
        return 1 / alpha, -sigma / alpha, torch.ones_like(alpha)
