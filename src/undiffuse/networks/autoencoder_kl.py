"""The autoencoder of latent diffusion: a U-Net's two ways without what joins them (arXiv:2112.10752, app. G).

The same runs along one axis (sequences), two (images) or three (volumes).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, repeat
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from undiffuse.core.autoencoder import AutoencoderNetwork
from undiffuse.core.errors import Refused
from undiffuse.networks.axes import (
    Convolution,
    begin,
    convolution,
    refuse_dimensions,
    refuse_item,
    refuse_shape,
    refuse_sizes,
)
from undiffuse.networks.blocks import Attention, Middle, Residual, Unattended, activate, group_count, normalise
from undiffuse.networks.diffusers_autoencoder import arguments, config_of, weights_from, weights_to
from undiffuse.networks.diffusers_format import read_folder, write_folder
from undiffuse.networks.foreign_weights import holding, unwritten
from undiffuse.networks.patches import joined, patches
from undiffuse.networks.resampling import CHANGES, Change, Double, Halve, refuse_levels


class AutoencoderKL(AutoencoderNetwork):
    """x (batch, channels, height, width) -> h (batch, outputs, height / factor, width / factor), and z back.

    The defaults are those of Stable Diffusion (83,653,863 parameters), with factor = 2^(levels - 1) = 8.
    channels, outputs, dimensions: given by the data and the bottleneck; dimensions as of `UNet`.
    width, multipliers: level i has width * multipliers[i] channels; every level after the first halves the resolution.
    blocks: residual blocks a level (one more on the way up).  attention: whether the lowest resolution has it.
    groups: of every norm, 0: 32, but at least 4 channels a group.
    quant: whether a 1 x 1 convolution ends the encoder and another begins the decoder.
    patch: the first convolution sees patches of so many pixels a side as channels, and the last one gives such: less
        work at full resolution, where it is most; the factor is patch times as large.
    shortcuts: whether the ways between levels add averages of 2 x 2 places, or repeat them, to what they convolve:
        residuals of space-to-channel as in arXiv:2410.10733, sec. 3.2, for as many channels on both sides.
    checkpoint: in training each residual block is computed once more on the way back, in place of being remembered.
    Raises Refused for sizes that the factor does not divide and numbers that do not fit.
    """

    def __init__(
        self,
        channels: int = 3,
        latent_channels: int = 4,
        outputs: int = 8,
        width: int = 128,
        multipliers: tuple[float, ...] = (1, 2, 4, 4),
        blocks: int = 2,
        attention: bool = True,
        groups: int = 0,
        eps: float = 1e-6,
        dropout: float = 0.0,
        quant: bool = True,
        patch: int = 1,
        shortcuts: bool = False,
        checkpoint: bool = False,
        dimensions: int = 2,
    ) -> None:
        super().__init__()
        refuse_dimensions(dimensions, "AutoencoderKL", points="there is --set network.name=mlp_autoencoder")
        sizes = {"channels": channels, "latent_channels": latent_channels, "outputs": outputs, "width": width}
        for name, value in (sizes | {"blocks": blocks, "patch": patch}).items():
            if value < 1:
                raise Refused(f"{name} = {value}: AutoencoderKL needs at least 1")
        refuse_levels(width, multipliers, (), 0, "conv", "an AutoencoderKL")
        self.channels, self.latent_channels, self.outputs = channels, latent_channels, outputs
        self.width, self.multipliers, self.blocks, self.attention = width, tuple(multipliers), blocks, attention
        self.groups, self.eps, self.dropout = groups, eps, dropout
        self.quant, self.patch, self.shortcuts, self.dimensions = quant, patch, shortcuts, dimensions
        self.checkpoint = checkpoint
        widths = [round(width * m) for m in multipliers]
        parts = AutoencoderParts(blocks, attention, groups, eps, dropout, shortcuts, checkpoint, dimensions)
        inside = channels * patch**dimensions
        self.encoder = LatentEncoder(inside, outputs, widths, quant, parts)
        self.decoder = LatentDecoder(inside, latent_channels, widths, quant, parts)

    @property
    def factor(self) -> int:
        """patch 2^(levels - 1)."""
        return self.patch * 2 ** (len(self.multipliers) - 1)

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(latent_channels, each side / factor)."""
        owner = f"an AutoencoderKL of {len(self.multipliers)} levels"
        refuse_item(shape, self.channels, self.dimensions, self.factor, owner, "give it fewer network.multipliers")
        return (self.latent_channels, *(side // self.factor for side in shape[1:]))

    def encode(self, x: Tensor) -> Tensor:
        refuse_shape(x, self.channels, self.dimensions, "this AutoencoderKL")
        refuse_sizes(x, self.factor, f"an AutoencoderKL of {len(self.multipliers)} levels")
        if self.patch > 1:
            grid = tuple(side // self.patch for side in x.shape[2:])
            x = patches(x, self.patch).mT.unflatten(2, grid)
        return self.encoder(_channels_last(x))

    def features(self, z: Tensor) -> list[Tensor]:
        """The output of the lowest resolution, and of each level on the way up."""
        return self.decoder.features(_channels_last(z))

    def decode(self, z: Tensor) -> Tensor:
        refuse_shape(z, self.latent_channels, self.dimensions, "the decoder of this AutoencoderKL")
        x = self.decoder(_channels_last(z))
        return joined(x.flatten(2).mT, self.patch, tuple(x.shape[2:])) if self.patch > 1 else x

    @property
    def last_layer(self) -> nn.Parameter:
        return self.decoder.leave.weight

    @classmethod
    def from_diffusers(cls, folder: str | Path) -> Self:
        """The network in the folder of a diffusers `AutoencoderKL` (or of a pipeline that has one), with equal outputs.

        Raises Refused, naming the field, for what this network has not.
        """
        config, weights = read_folder(folder, "AutoencoderKL", "vae")
        what = f"the weights in {folder} do not fit their config"
        return holding(unwritten(partial(cls, **arguments(config))), weights_from(weights), what)

    def to_diffusers(self, folder: str | Path, sample_size: int = 64, scaling_factor: float = 1.0) -> None:
        """Write a folder that diffusers' `AutoencoderKL.from_pretrained` reads.

        sample_size, scaling_factor: what diffusers' pipelines draw by default, and multiply latents by.
        Raises Refused, naming the argument, for what an `AutoencoderKL` of diffusers has not. Nothing is written then.
        """
        groups = {m.num_groups for m in self.modules() if isinstance(m, nn.GroupNorm)}
        config = config_of(self, groups, sample_size=sample_size, scaling_factor=scaling_factor)
        write_folder(folder, config, weights_to(self.state_dict()))


@dataclass(frozen=True)
class AutoencoderParts:
    """What encoder and decoder are made of, see `AutoencoderKL`."""

    blocks: int
    attention: bool
    groups: int
    eps: float
    dropout: float
    shortcuts: bool
    checkpoint: bool
    dimensions: int

    def level(self, channels: int, out: int, count: int, way: nn.Module) -> "LatentLevel":
        """`count` residual blocks, and the way to the next level."""
        residuals = [self._residual(channels if i == 0 else out, out) for i in range(count)]
        return LatentLevel(residuals, way, self.checkpoint)

    def middle(self, channels: int) -> Middle:
        """The lowest resolution."""
        attention = Attention(channels, self.groups, self.eps) if self.attention else Unattended()
        return Middle([self._residual(channels, channels) for _ in range(2)], attention)

    def halve(self, channels: int) -> nn.Module:
        """The way to half the resolution."""
        return self._way(Halve(channels, 0, self.dimensions), CHANGES["residual"][0])

    def double(self, channels: int) -> nn.Module:
        """The way to twice the resolution."""
        return self._way(Double(channels, self.dimensions), CHANGES["residual"][1])

    def norm(self, channels: int) -> nn.GroupNorm:
        """The last norm."""
        return nn.GroupNorm(group_count(channels, self.groups), channels, eps=self.eps)

    def conv(self, channels: int, out: int, kernel: int = 3) -> Convolution:
        """A convolution that keeps the resolution."""
        return begin(convolution(self.dimensions, channels, out, kernel, padding=kernel // 2))

    def _way(self, way: nn.Module, change: Change | None) -> nn.Module:
        return WayWithShortcut(way, change) if self.shortcuts and change else way

    def _residual(self, channels: int, out: int) -> Residual:
        return Residual(channels, out, self.groups, self.eps, self.dropout, False, self.dimensions)


class LatentEncoder(nn.Module):
    """x (batch, channels, ...) -> (batch, out, ...), each side 2^(levels - 1) times smaller."""

    def __init__(self, channels: int, out: int, widths: Sequence[int], quant: bool, parts: AutoencoderParts) -> None:
        super().__init__()
        self.enter = parts.conv(channels, widths[0])
        pairs = list(pairwise([widths[0], *widths]))
        ways = [*(parts.halve(wide) for wide in widths[:-1]), nn.Identity()]
        self.down = nn.ModuleList(
            [parts.level(inside, wide, parts.blocks, way) for (inside, wide), way in zip(pairs, ways, strict=True)]
        )
        self.middle = parts.middle(widths[-1])
        self.leave_norm = parts.norm(widths[-1])
        self.leave = parts.conv(widths[-1], out)
        self.quant = parts.conv(out, out, 1) if quant else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for level in self.down:
            x = level(x)
        x = self.middle(x, repeat(None))
        return self.quant(self.leave(activate(normalise(x, self.leave_norm))))


class LatentDecoder(nn.Module):
    """z (batch, latent_channels, ...) -> (batch, channels, ...), each side 2^(levels - 1) times larger."""

    def __init__(
        self, channels: int, latent_channels: int, widths: Sequence[int], quant: bool, parts: AutoencoderParts
    ) -> None:
        super().__init__()
        deep = list(reversed(widths))
        self.quant = parts.conv(latent_channels, latent_channels, 1) if quant else nn.Identity()
        self.enter = parts.conv(latent_channels, deep[0])
        self.middle = parts.middle(deep[0])
        ways = [*(parts.double(wide) for wide in deep[:-1]), nn.Identity()]
        pairs = list(pairwise([deep[0], *deep]))
        self.up = nn.ModuleList(
            [parts.level(inside, wide, parts.blocks + 1, way) for (inside, wide), way in zip(pairs, ways, strict=True)]
        )
        self.leave_norm = parts.norm(deep[-1])
        self.leave = parts.conv(deep[-1], channels)

    def forward(self, z: Tensor) -> Tensor:
        x = self.middle(self.enter(self.quant(z)), repeat(None))
        for level in self.up:
            x = level(x)
        return self.leave(activate(normalise(x, self.leave_norm)))

    def features(self, z: Tensor) -> list[Tensor]:
        """What the middle and every level give."""
        found = [self.middle(self.enter(self.quant(z)), repeat(None))]
        for level in self.up:
            found.append(level(found[-1]))
        return found


class LatentLevel(nn.Module):
    """Residual blocks at one resolution, then the way to the next."""

    def __init__(self, residuals: list[Residual], resample: nn.Module, checkpoint: bool) -> None:
        super().__init__()
        self.residuals, self.resample, self.checkpoint = nn.ModuleList(residuals), resample, checkpoint

    def forward(self, x: Tensor) -> Tensor:
        for residual in self.residuals:
            if self.checkpoint and torch.is_grad_enabled():
                x = recomputed(residual, x, use_reentrant=False)  # type: ignore[assignment]
            else:
                x = residual(x)
        return self.resample(x)


class WayWithShortcut(nn.Module):
    """conv(x) + change(x): the way between two levels, with a residual that has no weights."""

    def __init__(self, way: nn.Module, change: Change) -> None:
        super().__init__()
        self.way, self.change = way, change

    def forward(self, x: Tensor) -> Tensor:
        return self.way(x) + self.change(x)


def _channels_last(x: Tensor) -> Tensor:
    """Images in the memory order in which convolutions are fastest, also in float32 on a CPU."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
