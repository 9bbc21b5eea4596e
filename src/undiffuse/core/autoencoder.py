"""An autoencoder: an encoder, a bottleneck and a decoder, all of encoded data."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from undiffuse.core.bottleneck import Bottleneck
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.feature_network import FeatureNetwork, by_depth
from undiffuse.core.network import Network
from undiffuse.core.random import Random


class AutoencoderNetwork(Network, ABC):
    """An encoder and a decoder.

    channels: of the data. dimensions: how many axes the data have besides. latent_channels: of what is decoded.
    outputs: channels that the encoder gives, at least latent_channels; given by the bottleneck. factor: how many times
    smaller each side of the latents is. encoder, decoder: modules that share no weights and are called with a tensor
    each.
    """

    predicts: ClassVar[str] = "reconstruction"

    channels: int
    dimensions: int
    latent_channels: int
    outputs: int
    encoder: Any
    decoder: Any

    @property
    @abstractmethod
    def factor(self) -> int:
        """How many times smaller each side of the latents is than that of the data."""

    @abstractmethod
    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the latents of an item of this shape, channels first; raises Refused for one that cannot be."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """x (batch, channels, ...) -> (batch, outputs, ...)."""

    @abstractmethod
    def features(self, z: Tensor) -> list[Tensor]:
        """What the decoder computes on its way from z (batch, latent_channels, ...), first to last, before its output:
        (batch, width, ...) each.
        """

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """z (batch, latent_channels, ...) -> (batch, channels, ...)."""

    @property
    @abstractmethod
    def last_layer(self) -> nn.Parameter:
        """The weight of the decoder's last layer."""

    def forward(self, x: Tensor) -> Tensor:
        """The decoded mode of x, without the bottleneck."""
        return self.decode(self.encode(x)[:, : self.latent_channels])

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile encoder and decoder, as `torch.nn.Module.compile`."""
        self.encoder.compile(*args, **options)
        self.decoder.compile(*args, **options)


class Autoencoder(FeatureNetwork):
    """q(z given x) = bottleneck(encode(x)),  x_hat = decode(bottleneck(z)).

    x: encoded data (batch, channels, ...), such as pixels in [-1, 1]. The network works in its own dtype; what comes
    out is in the input's, float32 or better. log_scale: s of a decoder p(x given z) = exp(-loss / e^s) / Z, see
    `Autoencoding`; 0 and of no effect where it is not trained.
    """

    def __init__(self, network: AutoencoderNetwork, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.network, self.bottleneck = network, bottleneck
        self.log_scale = nn.Parameter(torch.zeros((), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction from the mode of q(z given x)."""
        return self.decode(self.latents(self.posterior(x)))

    def moments(self, x: Tensor) -> Tensor:
        """The encoder's output h, (batch, outputs, ...)."""
        return self._in_its_dtype(self.network.encode, x)

    def posterior(self, x: Tensor) -> Distribution:
        """q(z given x); its variance is 0 where z is certain."""
        return self.bottleneck.posterior(self.moments(x))

    def latents(self, posterior: Distribution, random: Random | None = None) -> Tensor:
        """A draw from q(z given x); None: its mode."""
        return posterior.mean if random is None else posterior.sample(random)

    def decode(self, z: Tensor) -> Tensor:
        """x_hat of latents, through the bottleneck's quantiser if there is one; gradients pass to z."""
        return self._in_its_dtype(self.network.decode, self.bottleneck(z))

    def decoder_features(self, z: Tensor) -> list[Tensor]:
        """What the decoder computes on its way, see `AutoencoderNetwork.features`."""
        seen = self.bottleneck(z)
        return self.network.features(seen.to(self.network.last_layer.dtype))

    def layers(self, x: Tensor) -> list[Tensor]:
        """What the encoder computes on its way at several depths, see `by_depth`."""
        return by_depth(self.network.encoder, lambda: self.moments(x), x)

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight of the decoder's last layer, for weights that adapt to its gradients."""
        return self.network.last_layer

    def _in_its_dtype(self, half: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        found = half(x.to(self.network.last_layer.dtype))
        return found.to(torch.promote_types(x.dtype, torch.float32))

    __call__ = cast("Callable[[Tensor], Tensor]", nn.Module.__call__)
