"""Halving and doubling the resolution along 1 to 3 axes: by convolutions, by averages and repetition, by a filter."""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused, unknown
from undiffuse.networks.axes import begin, convolution

Change = Callable[[Tensor], Tensor]
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
POOLED = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class Halve(nn.Module):
    """A convolution of width 3 with stride 2. padding 0: TensorFlow's 'SAME', zeros at the end; 1: zeros all round."""

    def __init__(self, channels: int, padding: int, dimensions: int = 2) -> None:
        super().__init__()
        self.conv = begin(convolution(dimensions, channels, channels, 3, stride=2, padding=padding))
        self.margin = (0, 1 - padding) * dimensions

    def forward(self, x: Tensor, times: object = None) -> Tensor:
        return self.conv(F.pad(x, self.margin) if any(self.margin) else x)


class Double(nn.Module):
    """Every place repeated along each axis, then a convolution of width 3: together one transposed convolution.

    Its kernel of width 4 spreads the one of width 3:  K[2-k] and K[3-k] receive w[k], along each axis. It takes 4/6 of
    the work on a sequence, 16/36 on an image, 64/216 on a volume.
    """

    def __init__(self, channels: int, dimensions: int = 2) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.conv = begin(convolution(dimensions, channels, channels, 3, padding=1))

    def forward(self, x: Tensor, times: object = None) -> Tensor:
        weight = self.conv.weight
        spread = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=weight.dtype, device=weight.device)
        kernel = weight.flatten(2).flatten(0, 1) @ reduce(torch.kron, [spread] * self.dimensions).T
        kernel = kernel.view(*weight.shape[:2], *(4,) * self.dimensions).transpose(0, 1)  # (in, out, 4 an axis)
        return TRANSPOSED[self.dimensions](x, kernel, self.conv.bias, stride=2, padding=1)


class Subpixels(nn.Module):
    """A convolution of width 3 to 2^axes values of each place, which are the places of twice the resolution.

    Source: arXiv:1609.05158, eq. 3 and 4.
    """

    def __init__(self, channels: int, dimensions: int = 2) -> None:
        super().__init__()
        self.conv = begin(convolution(dimensions, channels, channels * 2**dimensions, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        axes = x.ndim - 2
        values = self.conv(x).unflatten(1, (-1, *(2,) * axes))  # (batch, channels, 2 an axis, places)
        between = [axis for i in range(axes) for axis in (2 + axes + i, 2 + i)]
        return values.permute(0, 1, *between).reshape(len(x), -1, *(2 * side for side in x.shape[2:]))


def average(x: Tensor) -> Tensor:
    """The mean of every two places along each axis."""
    return POOLED[x.ndim - 2](x, 2)


def repeat(x: Tensor) -> Tensor:
    """Every place twice along each axis."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def filtered_half(x: Tensor) -> Tensor:
    """Every second place of x smoothed by (1, 3, 3, 1)/8 along each axis, with zeros around it.

    The filter is three times that of two equal places, (1, 1)/2.
    """
    pool = POOLED[x.ndim - 2]
    return pool(pool(pool(x, 2, stride=1, padding=1), 2, stride=1), 2)


def filtered_double(x: Tensor) -> Tensor:
    """Zeros between the places of x, smoothed by (1, 3, 3, 1)/4 along each axis, with zeros around it.

    2^axes times the transpose of `filtered_half`, so that what is constant stays as it is but for the rim.
    """
    pool = POOLED[x.ndim - 2]
    return pool(pool(repeat(x), 2, stride=1, padding=1), 2, stride=1)


# what residual blocks between levels do to the resolution, on the way down and on the way up; none: convolutions do it
CHANGES: dict[str, tuple[Change, Change] | tuple[None, None]] = {
    "conv": (None, None),
    "residual": (average, repeat),
    "fir": (filtered_half, filtered_double),
}


def refuse_levels(
    width: int, multipliers: Sequence[float], attention: Sequence[int], padding: int, resample: str, owner: str
) -> None:
    """Raises Refused, naming the owner ("a U-Net"), for levels and ways between them that there cannot be."""
    depth = len(multipliers)
    if not depth or any(round(width * m) < 1 for m in multipliers):
        raise Refused(f"multipliers = {multipliers}: give one positive number a level")
    if any(not -depth <= level < depth for level in attention):
        this = f"this {owner.partition(' ')[2]}"
        raise Refused(f"attention = {attention}: {this} has the levels 0 to {depth - 1}")
    if padding not in (0, 1):
        raise Refused(f"downsample_padding = {padding}: it is 0 (below and right) or 1 (all round)")
    if resample not in CHANGES:
        raise unknown(f"{owner}'s resample", resample, CHANGES)
