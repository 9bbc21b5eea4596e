"""Small autoencoders, images for them, and settings of the losses that are as small."""

import sys
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.bottlenecks.kl import KLBottleneck
from undiffuse.bottlenecks.none import NoneBottleneck
from undiffuse.core import registry
from undiffuse.core.autoencoder import Autoencoder, AutoencoderNetwork
from undiffuse.core.random import Random

LOSSES: dict[str, dict[str, Any]] = {"patch_gan": {"layers": 1, "width": 4, "start": 2}}
IMAGES = Random(7).uniform((4, 3, 12, 16)).float() * 2 - 1


class TinyAutoencoder(AutoencoderNetwork):
    """One convolution each way, which halves and doubles; without `between` nothing but the identity."""

    def __init__(self, channels: int = 3, latent_channels: int = 2, outputs: int = 4, dimensions: int = 2) -> None:
        super().__init__()
        self.channels, self.latent_channels, self.outputs = channels, latent_channels, outputs
        self.dimensions = dimensions
        down = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        up = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dimensions]
        self.encoder = down(channels, outputs, 4, stride=2, padding=1)
        self.last = down(8, channels, 1)
        self.decoder = nn.Sequential(up(latent_channels, 8, 4, stride=2, padding=1), nn.SiLU(), self.last)

    @property
    def factor(self) -> int:
        return 2

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.latent_channels, *(side // 2 for side in shape[1:]))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def features(self, z: Tensor) -> list[Tensor]:
        return [self.decoder[0](z)]

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    @property
    def last_layer(self) -> nn.Parameter:
        return self.last.weight


class Unchanged(TinyAutoencoder):
    """Latents are the data."""

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor) -> Tensor:
        return z


def autoencoder(**sizes: Any) -> Autoencoder:
    torch.manual_seed(5)
    return Autoencoder(TinyAutoencoder(**sizes), KLBottleneck())


def unchanged() -> Autoencoder:
    return Autoencoder(Unchanged(latent_channels=3, outputs=3), NoneBottleneck())


def fresh(name: str) -> Any:
    """The registered loss, small."""
    return registry.build("losses", {"name": name, **LOSSES.get(name, {})})


loss = cache(fresh)  # one for many tests, since some read weights


class FakeLPIPS(nn.Module):
    """The parts that the package's module has, by their names alone: its weights are a download."""

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        self.scaling_layer, self.net = nn.Identity(), Depths()
        self.lins = nn.ModuleList([nn.Conv2d(4, 1, 1, bias=False), nn.Conv2d(4, 1, 1, bias=False)])
        for weight in (p for p in self.parameters() if p.ndim > 1):
            weight.data = Random(0).uniform(tuple(weight.shape)).float()


class Depths(nn.Module):
    """Two convolutions, both shown."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2)

    def forward(self, x: Tensor) -> list[Tensor]:
        h = self.first(x).relu()
        return [h, self.second(h).relu()]


lpips: Any = ModuleType("lpips")
lpips.LPIPS = FakeLPIPS
sys.modules.setdefault("lpips", lpips)
