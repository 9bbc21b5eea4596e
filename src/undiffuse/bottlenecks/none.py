"""No bottleneck: latents are what the encoder gives, and cost nothing."""

import torch
from torch import Tensor

from undiffuse.core.bottleneck import Bottleneck
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal


class NoneBottleneck(Bottleneck):
    """z = h: a plain autoencoder."""

    def outputs(self, latent_channels: int) -> int:
        """As many."""
        return latent_channels

    def posterior(self, h: Tensor) -> Distribution:
        """h for certain."""
        return Normal(h, 0.0)

    def penalty(self, posterior: Distribution, z: Tensor) -> Tensor:
        """0."""
        return torch.zeros(len(z), dtype=z.dtype, device=z.device)
