"""Latents with noise: the variational autoencoder's normal posterior, at a price of its KL divergence from N(0, 1)."""

from typing import ClassVar

from torch import Tensor

from undiffuse.core.bottleneck import STANDARD, Bottleneck
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal

LEAST, MOST = -30.0, 20.0  # of a log variance, as in arXiv:2112.10752's released code


class KLBottleneck(Bottleneck):
    """q(z given x) = N(mean, e^l) with h = [mean, l];  penalty = sum (mean^2 + e^l - 1 - l) / 2, in nats.

    l stays within -30 and 20. Source: arXiv:1312.6114, app. B; arXiv:2112.10752, app. G.
    """

    prior: ClassVar[Normal | None] = STANDARD

    def outputs(self, latent_channels: int) -> int:
        """Twice as many: means, then log variances."""
        return 2 * latent_channels

    def posterior(self, h: Tensor) -> Distribution:
        """N(mean, e^l)."""
        mean, log_var = h.chunk(2, dim=1)
        return Normal(mean, log_var.clamp(LEAST, MOST).exp())

    def penalty(self, posterior: Distribution, z: Tensor) -> Tensor:
        """KL(q(z given x) || N(0, 1)) of each item in nats."""
        return posterior.kl(STANDARD)
