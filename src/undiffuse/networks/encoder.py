"""The first half of a U-Net and a pool behind it: which class a noisy sample is of (arXiv:2105.05233, sec. 4 and H)."""

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused, unknown
from undiffuse.core.network import Network
from undiffuse.networks.attention import attention, by_head, merged
from undiffuse.networks.axes import begin, convolution, refuse_dimensions, refuse_shape, refuse_sizes
from undiffuse.networks.blocks import (
    Attention,
    Down,
    Middle,
    Resample,
    Residual,
    Unattended,
    activate,
    group_count,
    normalise,
)
from undiffuse.networks.embeddings import exactly, positional
from undiffuse.networks.resampling import CHANGES, Halve, refuse_levels
from undiffuse.networks.spatial_attention import head_count


class Encoder(Network):
    """x (batch, channels, height, width), c_time (batch,) -> logits (batch, classes), at first all zero.

    classes: how many it tells apart; channels, dimensions: as of a `UNet`; all three given by the data.
    width ... resample: as of a `UNet`, whose way down and middle this is. ADM's classifiers have width 128, blocks 2
    (4 at 64 x 64), head_width 64, scale_shift, attention at three levels and resample "residual".
    pool: how the places become one vector: "attention", where their mean asks all of them, or "mean". ADM's attention
    adds a learned vector a place; without it one network takes any size.

    Raises Refused for fewer than 1 class, sizes that the depth does not divide, and numbers that do not fit.
    """

    predicts: ClassVar[str] = "label"

    def __init__(
        self,
        channels: int = 3,
        classes: int = 2,
        width: int = 128,
        multipliers: tuple[float, ...] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: tuple[int, ...] = (1,),
        head_width: int = 0,
        groups: int = 0,
        eps: float = 1e-6,
        dropout: float = 0.0,
        scale_shift: bool = False,
        downsample_padding: int = 0,
        time_scale: float = 1.0,
        dimensions: int = 2,
        resample: str = "conv",
        pool: str = "attention",
    ) -> None:
        super().__init__()
        refuse_dimensions(dimensions, "an encoder", points="there is --set network.name=mlp_classifier")
        refuse_classes(classes, "an encoder")
        for name, value in {"channels": channels, "width": width, "blocks": blocks}.items():
            if value < 1:
                raise Refused(f"{name} = {value}: an encoder needs at least 1")
        depth = len(multipliers)
        refuse_levels(width, multipliers, attention, downsample_padding, resample, "an encoder")
        if pool not in ("attention", "mean"):
            raise unknown("an encoder's pool", pool, ("attention", "mean"))
        self.channels, self.classes, self.width, self.multipliers = channels, classes, width, tuple(multipliers)
        self.dimensions, self.time_scale, self.pool = dimensions, time_scale, pool
        attended, shrink = {level % depth for level in attention}, CHANGES[resample][0]
        same: dict[str, Any] = {"groups": groups, "eps": eps}
        residual = partial(Residual, dropout=dropout, scale_shift=scale_shift, dimensions=dimensions, **same)
        self.time_in = begin(nn.Linear(width, 4 * width))
        self.time_hidden = begin(nn.Linear(4 * width, 4 * width))
        self.enter = begin(convolution(dimensions, channels, width, 3, padding=1))
        self.down, now = nn.ModuleList(), width
        for level, out in enumerate(round(width * m) for m in multipliers):
            stack = [residual(now if i == 0 else out, out) for i in range(blocks)]
            attentions = [
                self._attention(out, head_width, same) if level in attended else Unattended() for _ in range(blocks)
            ]
            halve = None
            if level < depth - 1:
                halve = (
                    Resample(residual(out, out, change=shrink))
                    if shrink
                    else Halve(out, downsample_padding, dimensions)
                )
            self.down.append(Down(stack, attentions, halve))
            now = out
        self.middle = Middle([residual(now, now), residual(now, now)], self._attention(now, head_width, same))
        self.leave_norm = nn.GroupNorm(group_count(now, groups), now, eps=eps)
        self.heads = now // head_width if head_width else 1
        self.qkv = begin(nn.Linear(now, 3 * now)) if pool == "attention" else None
        self.leave = begin(nn.Linear(now, classes), scale=0.0)
        self.time_widths = [m.time_width for m in self.modules() if isinstance(m, Residual)]
        self.time_out = begin(nn.Linear(4 * width, sum(self.time_widths)))

    def _attention(self, channels: int, head_width: int, same: dict[str, Any]) -> Attention:
        return Attention(channels, heads=head_count(channels, 0, head_width), **same)

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        refuse_shape(x, self.channels, self.dimensions, "this encoder")
        refuse_sizes(x, 2 ** (len(self.multipliers) - 1), f"an encoder of {len(self.multipliers)} levels")
        times = iter(self.embed(c_time).to(x.dtype).split(self.time_widths, dim=1))
        x = self.enter(x)
        for level in self.down:
            x = level(x, times)[-1]
        x = activate(normalise(self.middle(x, times), self.leave_norm))
        return self.leave(self.pooled(x.flatten(2).mT))

    def pooled(self, places: Tensor) -> Tensor:
        """One vector of each sample's places (batch, places, width): (batch, width)."""
        mean = places.mean(1)
        if self.qkv is None:
            return mean
        q, k, v = by_head(self.qkv(torch.cat([mean[:, None], places], dim=1)), 3, self.heads)
        return merged(attention(q[:, :, :1], k, v)).flatten(1)

    def embed(self, c_time: Tensor) -> Tensor:
        """Features of all blocks from the time, (batch, sum of time_widths), in float32 or better, see `exactly`."""
        with torch.autocast(c_time.device.type, enabled=False):
            e = positional(c_time.float() * self.time_scale, self.width)
            e = F.silu(exactly(self.time_hidden, F.silu(exactly(self.time_in, e))))
            return self.time_out(e.to(self.time_out.weight.dtype))


def refuse_classes(classes: int, owner: str) -> None:
    """Raises Refused for less than one output: a logit of each class, or a number that is told."""
    if classes < 1:
        raise Refused(f"classes = {classes}: {owner} gives at least 1 number")
