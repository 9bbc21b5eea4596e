"""Sequences, images and volumes: how many axes they have, what these are called, and convolutions along all of them."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
SIZES = {1: "--set data.window={0} of series, --set data.length={0} of sounds"}  # what sets a size, if not data.size
KINDS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
LayerT = TypeVar("LayerT", bound=Convolution | nn.Linear)


def convolution(
    dimensions: int, channels: int, out: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Convolution:
    """A convolution along that many axes, its kernel equally long along each."""
    return KINDS[dimensions](channels, out, kernel, stride=stride, padding=padding, dilation=dilation)


def begin(layer: LayerT, scale: float = 1.0) -> LayerT:
    """The layer with DDPM's first weights: uniform with variance 2 scale^2 / (inputs + outputs), no bias."""
    nn.init.xavier_uniform_(layer.weight, gain=scale)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def everywhere(features: Tensor, like: Tensor) -> Tensor:
    """features (batch, width) as (batch, width, 1 ...), to stand at every place of `like`, (batch, channels, ...)."""
    return features.reshape(*features.shape, *(1,) * (like.ndim - 2))


def refuse_dimensions(
    dimensions: int, owner: str, video: bool = False, points: str = "there is --set network.name=mlp"
) -> None:
    """Raises Refused for anything but one to three axes: points and rows of a table have none to convolve along.

    video: the first of three is that of frames. points: what a person with points and tables can do.
    """
    if video and dimensions != 3:
        wanted = "(batch, channels, frames, height, width)"
        raise Refused(f"video = true is for videos, {wanted}, and these items have {dimensions} axes beside channels")
    if dimensions not in AXES:
        raise Refused(
            f"dimensions = {dimensions}: {owner} takes sequences (1), images (2) and volumes (3); "
            f"for points and tables {points}"
        )


def refuse_shape(x: Tensor, channels: int, dimensions: int, owner: str) -> None:
    """Raises Refused unless x is (batch, channels, one size an axis)."""
    if x.ndim != dimensions + 2 or x.shape[1] != channels:
        wanted = ", ".join(AXES[dimensions])
        raise Refused(f"{owner} takes (batch, {channels}, {wanted}), not {tuple(x.shape)}")


def refuse_item(shape: tuple[int, ...], channels: int, dimensions: int, divisor: int, owner: str, fewer: str) -> None:
    """Raises Refused unless an item's shape is (channels, one size an axis), each of which `divisor` divides.

    fewer: what a person can do who keeps the sizes.
    """
    if len(shape) != dimensions + 1 or shape[0] != channels:
        raise Refused(f"{owner} takes items of shape ({channels}, {', '.join(AXES[dimensions])}), not {shape}")
    refuse_sizes(torch.empty(1, *shape, dtype=torch.float32, device="meta"), divisor, owner, fewer)


def refuse_sizes(x: Tensor, divisor: int, owner: str, otherwise: str = "give it fewer network.multipliers") -> None:
    """Raises Refused, naming the axis and the nearest sizes that go, for a size that `divisor` does not divide.

    otherwise: what a person can do who keeps the size.
    """
    for axis, size in zip(AXES[x.ndim - 2], x.shape[2:], strict=True):
        if size % divisor:
            below, above = size // divisor * divisor, (size // divisor + 1) * divisor
            fit = f"{below} or {above}" if below else str(above)
            fields = SIZES.get(x.ndim - 2, "--set data.size={0}").format(above)
            raise Refused(
                f"{owner} needs a {axis} that {divisor} divides, not {size}: {fit} fits; "
                f"bring the data to that size ({fields}) or {otherwise}"
            )
