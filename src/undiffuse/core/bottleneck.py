"""What stands between the encoder and the decoder of an autoencoder, and keeps its latents regular: the interface."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused

STANDARD = Normal(torch.zeros((), dtype=torch.float32, device="cpu"), 1.0)  # broadcasts to latents of any shape


class Bottleneck(nn.Module, ABC):
    """q(z given x) from the encoder's output h, what the decoder sees of z, and what regular latents cost.

    A constructor's field `channels` is given by the network: its latent channels.
    prior: p(z), where the penalty is a KL divergence from it; None: there is none. vocabulary: the size of the
    codebook; 0: latents are no tokens.
    """

    prior: ClassVar[Normal | None] = None
    vocabulary: int = 0

    @abstractmethod
    def outputs(self, latent_channels: int) -> int:
        """How many channels the encoder gives for so many latent channels; the first are those of the mode."""

    @abstractmethod
    def posterior(self, h: Tensor) -> Distribution:
        """q(z given x), z (batch, latent_channels, ...), of the encoder's output h (batch, outputs, ...)."""

    @abstractmethod
    def penalty(self, posterior: Distribution, z: Tensor) -> Tensor:
        """What these latents cost, (batch,): summed over the numbers of an item, with gradients.

        z: drawn from the posterior. Training asks once a step for each item, so that statistics may be taken here,
        where the module is in training mode and gradients are on.
        """

    def forward(self, z: Tensor) -> Tensor:
        """What the decoder sees in place of the latents z, in their shape."""
        return z

    def tokens(self, h: Tensor) -> Tensor:
        """The tokens, int64 (batch, ...), of the encoder's output h; raises Refused for latents that are none."""
        raise Refused(
            f"{type(self).__name__} has no codebook, so that latents are no tokens: take bottleneck.name = 'vq'"
        )

    def embed(self, tokens: Tensor) -> Tensor:
        """The latents (batch, channels, ...) that tokens (batch, ...) stand for; raises Refused without a codebook."""
        raise Refused(
            f"{type(self).__name__} has no codebook, so that no latents belong to tokens: take bottleneck.name = 'vq'"
        )

    def after(self, step: int) -> None:
        """What changes after a step, 1, 2 ..., such as a codebook that follows the latents; without gradients."""

    def signs(self) -> dict[str, float]:
        """Numbers of its own that the training log shows."""
        return {}
