"""The absolute error of a reconstruction."""

import math
from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.objective import RUN
from undiffuse.core.random import Random
from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss


@dataclass(frozen=True)
class L1Loss(ReconstructionLoss):
    """sum |x_hat - x|: as a density a Laplace distribution."""

    weight: float = 1.0

    def __call__(
        self, model: Autoencoder, seen: Reconstruction, random: Random, step: int = 0, player: str = RUN
    ) -> Tensor:
        """The sum over the numbers of each item, (batch,)."""
        return (seen.x_hat - seen.x).abs().flatten(1).sum(1)

    def log_partition(self, log_scale: Tensor) -> Tensor:
        """log 2 + s."""
        return log_scale + math.log(2)
