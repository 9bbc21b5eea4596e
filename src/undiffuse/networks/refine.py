"""The parts of a RefineNet: residual blocks with dilation, and blocks that join and refine two resolutions."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.networks.axes import convolution
from undiffuse.networks.instance_norm import instance_norm_plus
from undiffuse.networks.resampling import POOLED, average

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
Numbers = Iterator[Tensor]  # gamma, alpha and beta of one norm after the other, in the order of `widths`


class ConditionalNorm(nn.Module):
    """Instance normalisation++ with the next of the numbers, then ELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor, numbers: Numbers) -> Tensor:
        return F.elu(instance_norm_plus(x, next(numbers)))


class Encode(nn.Module):
    """x + conv(elu(norm(conv(elu(norm(x)))))); halves the resolution at its end where asked.

    dilation: the distance of the kernel's places, which sees as far as a coarser resolution and keeps this one.
    """

    def __init__(self, channels: int, out: int, dimensions: int, dilation: int = 1, halve: bool = False) -> None:
        super().__init__()
        self.halve = halve
        self.norm1, self.norm2 = ConditionalNorm(channels), ConditionalNorm(out)
        self.conv1 = convolution(dimensions, channels, out, 3, padding=dilation, dilation=dilation)
        self.conv2 = convolution(dimensions, out, out, 3, padding=dilation, dilation=dilation)
        self.shortcut = convolution(dimensions, channels, out, 1) if channels != out else None

    def forward(self, x: Tensor, numbers: Numbers) -> Tensor:
        h = self.conv2(self.norm2(self.conv1(self.norm1(x, numbers)), numbers))
        x = h + (x if self.shortcut is None else self.shortcut(x))
        return average(x) if self.halve else x


class Units(nn.Module):
    """Residual convolution units: x + conv(elu(norm(conv(elu(norm(x)))))), `count` times."""

    def __init__(self, channels: int, dimensions: int, count: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([ConditionalNorm(channels) for _ in range(2 * count)])
        self.convs = nn.ModuleList(
            [convolution(dimensions, channels, channels, 3, padding=1) for _ in range(2 * count)]
        )

    def forward(self, x: Tensor, numbers: Numbers) -> Tensor:
        for i in range(0, len(self.convs), 2):
            h = self.convs[i](self.norms[i](x, numbers))
            x = x + self.convs[i + 1](self.norms[i + 1](h, numbers))
        return x


class Fuse(nn.Module):
    """Several resolutions joined: each through a norm and a convolution, brought to the finest one's size, added."""

    def __init__(self, inputs: list[int], out: int, dimensions: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([ConditionalNorm(channels) for channels in inputs])
        self.convs = nn.ModuleList([convolution(dimensions, channels, out, 3, padding=1) for channels in inputs])

    def forward(self, parts: list[Tensor], numbers: Numbers) -> Tensor:
        size = parts[0].shape[2:]
        total = torch.zeros((), dtype=parts[0].dtype, device=parts[0].device)
        for x, norm, conv in zip(parts, self.norms, self.convs, strict=True):
            h = conv(norm(x, numbers))
            mode = MODES[len(size)]
            total = total + (h if h.shape[2:] == size else F.interpolate(h, size, mode=mode, align_corners=True))
        return total


class Pools(nn.Module):
    """Chained residual pooling: x plus the chain of norm, the mean over 5 places an axis and a convolution, twice."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([ConditionalNorm(channels) for _ in range(2)])
        self.convs = nn.ModuleList([convolution(dimensions, channels, channels, 3, padding=1) for _ in range(2)])

    def forward(self, x: Tensor, numbers: Numbers) -> Tensor:
        x = F.elu(x)
        chain = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = F.pad(norm(chain, numbers), (2, 2) * (x.ndim - 2))  # the pooling's own padding refuses small volumes
            chain = conv(POOLED[x.ndim - 2](h, 5, stride=1))
            x = x + chain
        return x


class RefineBlock(nn.Module):
    """Units for each input, their fusion, chained pooling, and `units` more units; parts[0] is the finest input."""

    def __init__(self, inputs: list[int], out: int, dimensions: int, units: int = 1) -> None:
        super().__init__()
        self.adapt = nn.ModuleList([Units(channels, dimensions, 2) for channels in inputs])
        self.fuse = Fuse(inputs, out, dimensions)
        self.pools = Pools(out, dimensions)
        self.units = Units(out, dimensions, units)

    def forward(self, parts: list[Tensor], numbers: Numbers) -> Tensor:
        parts = [units(x, numbers) for units, x in zip(self.adapt, parts, strict=True)]
        return self.units(self.pools(self.fuse(parts, numbers), numbers), numbers)
