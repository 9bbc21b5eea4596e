"""The squared error of a reconstruction."""

import math
from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss


@dataclass(frozen=True)
class L2Loss(ReconstructionLoss):
    """sum (x_hat - x)^2: as a density a normal distribution of variance e^s / 2."""

    weight: float = 1.0

    def __call__(self, seen: Reconstruction) -> Tensor:
        """The sum over the numbers of each item, (batch,)."""
        return (seen.x_hat - seen.x).square().flatten(1).sum(1)

    def log_partition(self, log_scale: Tensor) -> Tensor:
        """(log pi + s) / 2."""
        return (log_scale + math.log(math.pi)) / 2

    def log_levels(self, x: Tensor, x_hat: Tensor, log_scale: Tensor, levels: Decoder) -> Tensor:
        """Of N(x_hat, e^s / 2), see `Decoder`."""
        return levels.log_prob(levels.check(x), Normal(x_hat, log_scale.double().exp() / 2))
