"""Videos in a network for images: its layers frame by frame, and behind them layers along time that begin as identity.

Videos are (batch, channels, frames, height, width). Source: Make-A-Video (arXiv:2209.14792, sec. 3.2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.networks.attention import attention, by_head, merged
from undiffuse.networks.blocks import Attention, Residual, concatenated
from undiffuse.networks.positions import coordinates, rotations, turned
from undiffuse.networks.reading import TextTokens
from undiffuse.networks.resampling import Double, Halve
from undiffuse.networks.spatial_attention import SpatialTransformer

KERNEL = 3  # frames that a convolution along time sees


def frame_by_frame(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a layer of images makes of every frame of x, (batch, channels, frames, height, width).

    What it makes lies in memory frame by frame, so that the next layer of images copies nothing.
    """
    return layer(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(x), x.shape[2])).transpose(1, 2)


def whole(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a layer makes of x."""
    return layer(x)


class AlongTime(nn.Module):
    """x + conv(x), a convolution along the frames of x (batch, channels, frames, height, width) that starts at zero.

    It is one whose kernel starts as the identity. A video of one frame is an image, and stays as it is.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, KERNEL, padding=KERNEL // 2)
        for weight in self.conv.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] == 1:
            return x
        kernel = self.conv.weight.unsqueeze(3)  # of a map of frames by places
        moved = F.conv2d(x.flatten(3), kernel, self.conv.bias, padding=(KERNEL // 2, 0))
        return x + moved.unflatten(3, x.shape[3:])


class TimeAttention(nn.Module):
    """x + out(softmax(q k^T / sqrt(d)) v) over the frames of each place of x; the output projection starts at zero.

    Queries and keys are turned by their frame's number (rotary positions), so that they know how many frames they are
    apart, and videos may have any number of frames. A video of one frame is an image, and stays as it is.
    Raises Refused for heads of an odd width.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels // heads % 2:
            raise Refused(f"attention along time needs heads of an even width, not {channels} channels by {heads}")
        self.heads = heads
        self.norm, self.qkv = nn.LayerNorm(channels), nn.Linear(channels, 3 * channels, bias=False)
        nn.init.xavier_uniform_(self.qkv.weight)
        self.out = nn.Linear(channels, channels)
        for weight in self.out.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, frames, *sides = x.shape
        if frames == 1:
            return x
        tokens = x.flatten(3).permute(0, 3, 2, 1).flatten(0, 1)  # (batch places, frames, channels)
        q, k, v = by_head(self.qkv(self.norm(tokens)), 3, self.heads)
        turns = rotations(coordinates((frames,), (), x.device), channels // self.heads)
        h = self.out(merged(attention(turned(q, turns), turned(k, turns), v)))
        return x + h.unflatten(0, (n, -1)).permute(0, 3, 2, 1).unflatten(3, sides)


class VideoResidual(Residual):
    """A residual block frame by frame, then a convolution along time."""

    def __init__(self, channels: int, out: int, *given: Any, **named: Any) -> None:
        super().__init__(channels, out, *given, **named)
        self.along = AlongTime(out)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        each = None if time is None else time.repeat_interleave(x.shape[2], 0)
        return self.along(frame_by_frame(lambda frames: Residual.forward(self, frames, each), x))


class VideoAttention(Attention):
    """Attention over the places of each frame, then over the frames of each place."""

    def __init__(self, channels: int, groups: int, eps: float, heads: int = 1, *given: Any) -> None:
        super().__init__(channels, groups, eps, heads, *given)
        self.along = TimeAttention(channels, heads)

    def forward(self, x: Tensor, text: TextTokens | None = None) -> Tensor:
        read = repeated(text, x.shape[2])
        return self.along(frame_by_frame(lambda frames: Attention.forward(self, frames, read), x))


class VideoTransformer(SpatialTransformer):
    """Transformer blocks over the places of each frame, then attention over the frames of each place."""

    def __init__(self, channels: int, count: int, heads: int, *given: Any) -> None:
        super().__init__(channels, count, heads, *given)
        self.along = TimeAttention(channels, heads)

    def forward(self, x: Tensor, text: TextTokens | None = None) -> Tensor:
        read = repeated(text, x.shape[2])
        return self.along(frame_by_frame(lambda frames: SpatialTransformer.forward(self, frames, read), x))


class VideoHalve(Halve):
    """The halved resolution of each frame; there are as many frames."""

    def forward(self, x: Tensor, times: object = None) -> Tensor:
        return frame_by_frame(super().forward, x)


class VideoDouble(Double):
    """The doubled resolution of each frame; there are as many frames."""

    def forward(self, x: Tensor, times: object = None) -> Tensor:
        return frame_by_frame(super().forward, x)


def repeated(text: TextTokens | None, frames: int) -> TextTokens | None:
    """A text for each of so many frames of every item."""
    return None if text is None else TextTokens(*(each.repeat_interleave(frames, 0) for each in text))


def joined(x: Tensor, skip: Tensor) -> Tensor:
    """The channels of both, in memory frame by frame."""
    return torch.cat([x.transpose(1, 2), skip.transpose(1, 2)], dim=2).transpose(1, 2)


@dataclass(frozen=True)
class Layers:
    """What a U-Net is made of. join: see `LevelParts`. each: how a layer that is none of these is called."""

    residual: Callable[..., Any] = Residual
    attention: Callable[..., nn.Module] = Attention
    transformer: Callable[..., nn.Module] = SpatialTransformer
    halve: Callable[..., nn.Module] = Halve
    double: Callable[..., nn.Module] = Double
    join: Callable[[Tensor, Tensor], Tensor] = concatenated
    each: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor] = whole


LAYERS = {
    False: Layers(),
    True: Layers(VideoResidual, VideoAttention, VideoTransformer, VideoHalve, VideoDouble, joined, frame_by_frame),
}  # by whether the items are videos
