"""The absolute error of a reconstruction."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss


@dataclass(frozen=True)
class L1Loss(ReconstructionLoss):
    """sum |x_hat - x|: as a density a Laplace distribution."""

    weight: float = 1.0

    def __call__(self, seen: Reconstruction) -> Tensor:
        """The sum over the numbers of each item, (batch,)."""
        return (seen.x_hat - seen.x).abs().flatten(1).sum(1)

    def log_partition(self, log_scale: Tensor) -> Tensor:
        """log 2 + s."""
        return log_scale + math.log(2)

    def log_levels(self, x: Tensor, x_hat: Tensor, log_scale: Tensor, levels: Decoder) -> Tensor:
        """log(F(above) - F(below)) of the Laplace distribution with scale e^s; the outermost levels take all beyond."""
        x, half, scale = levels.check(x), levels.width / 2, log_scale.double().exp()
        rest = x - x_hat.double()
        below = torch.where(x <= levels.low + half, -torch.inf, (rest - half) / scale)
        above = torch.where(x >= levels.high - half, torch.inf, (rest + half) / scale)
        near, far = torch.minimum(below.abs(), above.abs()), torch.maximum(below.abs(), above.abs())
        beside = -near - math.log(2) + torch.log(-torch.expm1(near - far))  # both ends on one side of x_hat
        around = torch.log(-(torch.expm1(-near) + torch.expm1(-far)) / 2)
        return torch.where(below * above < 0, around, beside).flatten(1).sum(1)
