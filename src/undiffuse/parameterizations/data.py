"""Data: the network predicts the data itself."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.parameterization import Parameterization


@dataclass(frozen=True)
class Data(Parameterization):
    """F = x_0. Source: arXiv:2202.00512, sec. 4."""

    aliases: ClassVar[tuple[str, ...]] = (
        "sample",
        "x0",
        "x_start",
        "x0_prediction",
        "sample_prediction",
        "data_prediction",
    )

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.zeros_like(alpha), torch.ones_like(alpha), torch.ones_like(alpha)
