"""The parts of a U-Net: residual block, self-attention, and the levels made of them, along 1 to 3 axes.

They keep the memory format of what they get (contiguous or channels-last) and copy nothing to change it.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.networks.attention import cross_attention, self_attention
from undiffuse.networks.axes import begin, convolution, everywhere
from undiffuse.networks.reading import TextTokens
from undiffuse.networks.resampling import Change

SQRT_HALF = math.sqrt(0.5)  # of a sum of two parts of equal variance, which keeps that variance


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
    With `rescale` the sum is divided by sqrt 2. `change` alters the resolution of x, and of the features before the
    first convolution (arXiv:2105.05233, sec. 3; arXiv:2011.13456, app. H).
    x: (batch, channels, one size an axis); time: (batch, out), with scale_shift (batch, 2 out); None: there is
    no time, as in an autoencoder.
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
        rescale: bool = False,
        change: Change | None = None,
    ) -> None:
        super().__init__()
        self.scale_shift, self.rescale, self.change = scale_shift, rescale, change
        self.time_width = out * (2 if scale_shift else 1)
        self.norm1 = nn.GroupNorm(group_count(channels, groups), channels, eps=eps)
        self.conv1 = begin(convolution(dimensions, channels, out, 3, padding=1))
        self.norm2 = nn.GroupNorm(group_count(out, groups), out, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = begin(convolution(dimensions, out, out, 3, padding=1), scale=0.0)
        self.shortcut = begin(convolution(dimensions, channels, out, 1)) if channels != out else None

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = activate(normalise(x, self.norm1))
        if self.change is not None:
            x, h = self.change(x), self.change(h)
        h = self.conv1(h)
        if time is None:
            h = normalise(h, self.norm2)
        elif self.scale_shift:
            scale, shift = everywhere(time, x).chunk(2, dim=1)
            h = torch.addcmul(shift, normalise(h, self.norm2), 1 + scale)
        else:
            h = normalise(h.add_(everywhere(time, x)), self.norm2)
        h = self.conv2(self.dropout(activate(h)))
        h.add_(x if self.shortcut is None else self.shortcut(x))
        return h.mul_(SQRT_HALF) if self.rescale else h


class Resample(nn.Module):
    """A residual block as the way from one level to the next, called as the other ways are: with all of the times."""

    def __init__(self, residual: nn.Module) -> None:
        super().__init__()
        self.residual = residual

    def forward(self, x: Tensor, times: Iterator[Tensor]) -> Tensor:
        return self.residual(x, next(times))


class Attention(nn.Module):
    """x + out(softmax(q k^T / sqrt(d)) v) over the places of each sample; the output projection starts at zero.

    With `rescale` the sum is divided by sqrt 2.
    text_width: of a text's tokens, to which the places attend after that (`Cross`); 0: there is no text.
    """

    def __init__(
        self, channels: int, groups: int, eps: float, heads: int = 1, rescale: bool = False, text_width: int = 0
    ) -> None:
        super().__init__()
        self.rescale, self.heads = rescale, heads
        self.norm = nn.GroupNorm(group_count(channels, groups), channels, eps=eps)
        self.qkv = nn.Linear(channels, 3 * channels)
        nn.init.zeros_(self.qkv.bias)
        for rows in self.qkv.weight.detach().split(channels):
            nn.init.xavier_uniform_(rows)
        self.out = begin(nn.Linear(channels, channels), scale=0.0)
        self.cross = Cross(channels, groups, eps, self.heads, text_width) if text_width else None

    def forward(self, x: Tensor, text: TextTokens | None = None) -> Tensor:
        tokens = normalise(x, self.norm).flatten(2).mT  # (batch, places, channels)
        x = x + self.out(self_attention(self.qkv(tokens), self.heads)).mT.unflatten(2, x.shape[2:])
        x = x * SQRT_HALF if self.rescale else x
        return x if self.cross is None or text is None else self.cross(x, text)


class Cross(nn.Module):
    """x + out(softmax(q k^T / sqrt(d)) v), queries from the places and keys and values from a text's tokens.

    It starts as the identity.
    """

    def __init__(self, channels: int, groups: int, eps: float, heads: int, text_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(group_count(channels, groups), channels, eps=eps)
        self.q, self.kv = nn.Linear(channels, channels), nn.Linear(text_width, 2 * channels)
        self.out = begin(nn.Linear(channels, channels), scale=0.0)

    def forward(self, x: Tensor, text: TextTokens) -> Tensor:
        q, kv = self.q(normalise(x, self.norm).flatten(2).mT), self.kv(text.tokens.to(x.dtype))
        return x + self.out(cross_attention(q, kv, self.heads, text.there)).mT.unflatten(2, x.shape[2:])


class Unattended(nn.Module):
    """No attention: x as it is."""

    def forward(self, x: Tensor, text: TextTokens | None = None) -> Tensor:
        return x


class Down(nn.Module):
    """A level on the way down: residual blocks, each with its attention (or none), then the way to the next level.

    Returns what the way up will need: the output of every part; the last is also the next level's input.
    """

    def __init__(
        self, residuals: Sequence[nn.Module], attentions: Sequence[nn.Module], resample: nn.Module | None
    ) -> None:
        super().__init__()
        self.residuals, self.attentions = nn.ModuleList(residuals), nn.ModuleList(attentions)
        self.resample = resample

    def forward(self, x: Tensor, times: Iterator[Tensor], text: TextTokens | None = None) -> list[Tensor]:
        outputs: list[Tensor] = []
        for residual, attention in zip(self.residuals, self.attentions, strict=True):
            x = attention(residual(x, next(times)), text)
            outputs.append(x)
        return outputs if self.resample is None else [*outputs, self.resample(x, times)]


class Middle(nn.Module):
    """Residual block, attention, residual block at the lowest resolution."""

    def __init__(self, residuals: Sequence[nn.Module], attention: nn.Module) -> None:
        super().__init__()
        self.residuals, self.attentions = nn.ModuleList(residuals), nn.ModuleList([attention])

    def forward(self, x: Tensor, times: Iterator[Tensor | None], text: TextTokens | None = None) -> Tensor:
        (first, second), (attention,) = self.residuals, self.attentions
        return second(attention(first(x, next(times)), text), next(times))


def concatenated(x: Tensor, skip: Tensor) -> Tensor:
    """The channels of both."""
    return torch.cat([x, skip], dim=1)


class Up(nn.Module):
    """A level on the way up: every residual block also gets the last of `skips`, which is taken away, by `join`."""

    def __init__(
        self,
        residuals: Sequence[nn.Module],
        attentions: Sequence[nn.Module],
        resample: nn.Module | None,
        join: Callable[[Tensor, Tensor], Tensor] = concatenated,
    ) -> None:
        super().__init__()
        self.residuals, self.attentions = nn.ModuleList(residuals), nn.ModuleList(attentions)
        self.resample, self.join = resample, join

    def forward(
        self, x: Tensor, times: Iterator[Tensor], skips: list[Tensor], text: TextTokens | None = None
    ) -> Tensor:
        for residual, attention in zip(self.residuals, self.attentions, strict=True):
            x = attention(residual(self.join(x, skips.pop()), next(times)), text)
        return x if self.resample is None else self.resample(x, times)
