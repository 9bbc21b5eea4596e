"""An autoencoder for points, rows and small images: fully connected layers to a few numbers and back."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.core.autoencoder import AutoencoderNetwork
from undiffuse.core.errors import Refused

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU, "tanh": nn.Tanh}


class MLPAutoencoder(AutoencoderNetwork):
    """x (batch, *shape) -> h (batch, outputs),  z (batch, latent_channels) -> (batch, *shape).

    Each half has `depth` hidden layers of `width`; with depth 0 it is linear, and the subspace of the squared error is
    that of PCA. Anything is flattened.
    channels, shape, outputs: given by the data and the bottleneck.  activation: "silu", "relu" or "tanh".
    Raises Refused for sizes below 1, for an unknown activation and for data of another size.
    """

    def __init__(
        self,
        channels: int = 2,
        shape: tuple[int, ...] = (),
        latent_channels: int = 2,
        outputs: int = 0,
        width: int = 256,
        depth: int = 2,
        activation: str = "silu",
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "latent_channels": latent_channels, "width": width, "depth + 1": depth + 1}
        for name, value in (sizes | {f"shape {shape}": min(shape, default=1)}).items():
            if value < 1:
                raise Refused(f"{name} = {value}: an MLP autoencoder needs at least 1")
        if activation not in ACTIVATIONS:
            raise Refused(f"activation = {activation!r}: it can be {', '.join(ACTIVATIONS)}")
        self.channels, self.latent_channels, self.outputs = channels, latent_channels, outputs or latent_channels
        self.shape = tuple(shape) or (channels,)
        self.dimensions = len(self.shape) - 1
        self.width, self.depth, self.activation = width, depth, activation
        self.encoder = self._half(math.prod(self.shape), self.outputs)
        self.decoder = self._half(latent_channels, math.prod(self.shape))

    @property
    def factor(self) -> int:
        """1: latents have no sides."""
        return 1

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(latent_channels,)."""
        if tuple(shape) != self.shape:
            raise Refused(f"this MLP autoencoder takes items of shape {self.shape}, not {tuple(shape)}")
        return (self.latent_channels,)

    def encode(self, x: Tensor) -> Tensor:
        if x.shape[1:] != torch.Size(self.shape):
            raise Refused(f"this MLP autoencoder takes items of shape {self.shape}, not {tuple(x.shape[1:])}")
        return self.encoder(x.flatten(1))

    def features(self, z: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for layer in list(self.decoder)[:-1]:
            z = layer(z)
            found += [] if isinstance(layer, nn.Linear) else [z]
        return found

    def decode(self, z: Tensor) -> Tensor:
        if z.shape[1:] != (self.latent_channels,):
            raise Refused(
                f"this MLP autoencoder takes latents of shape ({self.latent_channels},), not {tuple(z.shape[1:])}"
            )
        return self.decoder(z).unflatten(1, self.shape)

    @property
    def last_layer(self) -> nn.Parameter:
        *_, last = self.decoder
        return last.weight  # pyright: ignore[reportReturnType]

    def _half(self, inside: int, out: int) -> nn.Sequential:
        layers: list[Any] = []
        for _ in range(self.depth):
            layers += [nn.Linear(inside, self.width), ACTIVATIONS[self.activation]()]
            inside = self.width
        return nn.Sequential(*layers, nn.Linear(inside, out))
