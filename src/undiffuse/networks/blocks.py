"""The parts of a U-Net: residual block, self-attention, halving and doubling of the resolution, along 1 to 3 axes.

They keep the memory format of what they get (contiguous or channels-last) and copy nothing to change it.
"""

import math
from collections.abc import Iterator
from functools import reduce
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.networks.axes import Convolution, convolution, everywhere

LayerT = TypeVar("LayerT", bound=Convolution | nn.Linear)
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def begin(layer: LayerT, scale: float = 1.0) -> LayerT:
    """The layer with DDPM's first weights: uniform with variance 2 scale^2 / (inputs + outputs), no bias."""
    nn.init.xavier_uniform_(layer.weight, gain=scale)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def group_count(channels: int, groups: int) -> int:
    """How many groups a norm of `channels` has: exactly `groups`, or for 0 DDPM's 32, fewer if a group got less than 4.

    Raises Refused where `groups` does not divide the channels.
    """
    if groups == 0:
        return math.gcd(channels, max(1, min(32, channels // 4)))
    if groups < 0 or channels % groups:
        raise Refused(f"groups = {groups} does not divide {channels} channels; groups = 0 chooses for every layer")
    return groups


def normalise(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Group normalisation of x.

    On a CPU torch's channels-last kernel crawls for small half-precision maps with few channels a group: there a
    contiguous copy, made and undone, takes less than half the time.
    """
    small = x.dtype == torch.bfloat16 and x.device.type == "cpu" and math.prod(x.shape[2:]) < 1024
    if small and x.shape[1] < 16 * norm.num_groups:
        x = x.contiguous()
    return F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


def activate(x: Tensor) -> Tensor:
    """SiLU of a tensor nobody else needs: in place where no gradient asks for the input again."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


class Residual(nn.Module):
    """DDPM's residual block: x + conv(silu(norm(conv(silu(norm(x))) + shift))); the last convolution starts at zero.

    With `scale_shift` the time also scales: norm(h) * (1 + scale) + shift (arXiv:2102.09672, sec. 3).
    x: (batch, channels, one size an axis); time: (batch, out), with scale_shift (batch, 2 out).
    """

    def __init__(
        self,
        channels: int,
        out: int,
        groups: int,
        eps: float,
        dropout: float,
        scale_shift: bool,
        dimensions: int = 2,
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.time_width = out * (2 if scale_shift else 1)
        self.norm1 = nn.GroupNorm(group_count(channels, groups), channels, eps=eps)
        self.conv1 = begin(convolution(dimensions, channels, out, 3, padding=1))
        self.norm2 = nn.GroupNorm(group_count(out, groups), out, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = begin(convolution(dimensions, out, out, 3, padding=1), scale=0.0)
        self.shortcut = begin(convolution(dimensions, channels, out, 1)) if channels != out else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        time = everywhere(time, x)
        h = self.conv1(activate(normalise(x, self.norm1)))
        if self.scale_shift:
            scale, shift = time.chunk(2, dim=1)
            h = torch.addcmul(shift, normalise(h, self.norm2), 1 + scale)
        else:
            h = normalise(h.add_(time), self.norm2)
        h = self.conv2(self.dropout(activate(h)))
        return h.add_(x if self.shortcut is None else self.shortcut(x))


class Attention(nn.Module):
    """x + out(softmax(q k^T / sqrt(d)) v) over the places of each sample; the output projection starts at zero.

    head_width: channels a head; 0: one head.
    """

    def __init__(self, channels: int, groups: int, eps: float, head_width: int) -> None:
        super().__init__()
        if head_width < 0 or (head_width and channels % head_width):
            raise Refused(f"head_width = {head_width} does not divide the {channels} channels of an attention layer")
        self.heads = channels // head_width if head_width else 1
        self.norm = nn.GroupNorm(group_count(channels, groups), channels, eps=eps)
        self.qkv = nn.Linear(channels, 3 * channels)
        nn.init.zeros_(self.qkv.bias)
        for rows in self.qkv.weight.detach().split(channels):
            nn.init.xavier_uniform_(rows)
        self.out = begin(nn.Linear(channels, channels), scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        tokens = normalise(x, self.norm).flatten(2).mT  # (batch, places, channels)
        batch, places, channels = tokens.shape
        qkv = self.qkv(tokens).view(batch, places, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, places, channels a head)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, places, channels)
        return x + self.out(h).mT.unflatten(2, x.shape[2:])


class Halve(nn.Module):
    """A convolution of width 3 with stride 2. padding 0: TensorFlow's 'SAME', zeros at the end; 1: zeros all round."""

    def __init__(self, channels: int, padding: int, dimensions: int = 2) -> None:
        super().__init__()
        self.conv = begin(convolution(dimensions, channels, channels, 3, stride=2, padding=padding))
        self.margin = (0, 1 - padding) * dimensions

    def forward(self, x: Tensor) -> Tensor:
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

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight
        spread = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=weight.dtype, device=weight.device)
        kernel = weight.flatten(2).flatten(0, 1) @ reduce(torch.kron, [spread] * self.dimensions).T
        kernel = kernel.view(*weight.shape[:2], *(4,) * self.dimensions).transpose(0, 1)  # (in, out, 4 an axis)
        return TRANSPOSED[self.dimensions](x, kernel, self.conv.bias, stride=2, padding=1)


class Down(nn.Module):
    """A level on the way down: residual blocks, each with its attention (or Identity), then the way to the next level.

    Returns what the way up will need: the output of every part; the last is also the next level's input.
    """

    def __init__(self, residuals: list[Residual], attentions: list[nn.Module], resample: nn.Module | None) -> None:
        super().__init__()
        self.residuals, self.attentions = nn.ModuleList(residuals), nn.ModuleList(attentions)
        self.resample = resample

    def forward(self, x: Tensor, times: Iterator[Tensor]) -> list[Tensor]:
        outputs: list[Tensor] = []
        for residual, attention in zip(self.residuals, self.attentions, strict=True):
            x = attention(residual(x, next(times)))
            outputs.append(x)
        return outputs if self.resample is None else [*outputs, self.resample(x)]


class Middle(nn.Module):
    """Residual block, attention, residual block at the lowest resolution."""

    def __init__(self, residuals: list[Residual], attention: Attention) -> None:
        super().__init__()
        self.residuals, self.attentions = nn.ModuleList(residuals), nn.ModuleList([attention])

    def forward(self, x: Tensor, times: Iterator[Tensor]) -> Tensor:
        (first, second), (attention,) = self.residuals, self.attentions
        return second(attention(first(x, next(times))), next(times))


class Up(nn.Module):
    """A level on the way up: every residual block also gets the last of `skips`, which is taken away."""

    def __init__(self, residuals: list[Residual], attentions: list[nn.Module], resample: nn.Module | None) -> None:
        super().__init__()
        self.residuals, self.attentions = nn.ModuleList(residuals), nn.ModuleList(attentions)
        self.resample = resample

    def forward(self, x: Tensor, times: Iterator[Tensor], skips: list[Tensor]) -> Tensor:
        for residual, attention in zip(self.residuals, self.attentions, strict=True):
            x = attention(residual(torch.cat([x, skips.pop()], dim=1), next(times)))
        return x if self.resample is None else self.resample(x)
