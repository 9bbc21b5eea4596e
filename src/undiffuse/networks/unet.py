"""DDPM's U-Net: residual blocks and attention at falling, then rising resolution (arXiv:2006.11239, app. B).

DDPM's is for images; the same runs along one axis (sequences) or three (volumes).
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.network import Depth, HasDepths
from undiffuse.networks.axes import begin, convolution, refuse_dimensions, refuse_shape, refuse_sizes
from undiffuse.networks.blocks import Resample, Residual, activate, group_count, normalise
from undiffuse.networks.conditions import ConditionEmbedding, Specs
from undiffuse.networks.embeddings import Label, exactly, fourier_features, positional
from undiffuse.networks.levels import LevelParts, Trunk, ascend, blocks_each, depths_of, descend, joined_smaller, levels
from undiffuse.networks.resampling import CHANGES, Subpixels, refuse_levels
from undiffuse.networks.space_time import LAYERS
from undiffuse.networks.spatial_attention import head_count
from undiffuse.networks.steering import Steerable, own_copy, zeroed
from undiffuse.networks.stills import apart, without_still
from undiffuse.networks.text_embeddings import EmbeddedTexts
from undiffuse.networks.unet_exchange import ExchangedUNet


class UNet(ExchangedUNet, HasDepths, Steerable):
    """x (batch, channels, height, width), c_time (batch,) -> (batch, out_channels, height, width), at first all zero.

    The defaults are DDPM's CIFAR-10 network (35,746,307 parameters); its 256 x 256 network has
    multipliers (1, 1, 2, 2, 4, 4) and attention (4,) (113,673,219 parameters). ADM has scale_shift, head_width 64,
    attention at several levels and resample "residual" (arXiv:2105.05233); NCSN++ has resample "fir", rescale and
    fourier 16 on ln(sigma) (arXiv:2011.13456). Stable Diffusion 1 has width 320, multipliers (1, 2, 4, 4), attention
    (0, 1, 2), transformer_blocks 1, heads 8, text_width 0 and a text (77, 768) (859,520,964 parameters).

    channels, out_channels: of the input and the output (0: as the input).
    dimensions: 1 for sequences (batch, channels, length), 2 for images, 3 for volumes (batch, channels, depth, height,
        width); given by the data. video: the first of 3 is that of frames, see `space_time`.
    classes: number of classes, 0 for none; the null class adds nothing, so it costs no parameter.
    conditions: further ones by name: vectors, texts and images; given by the data, see `ConditionEmbedding`. Texts
        reach the levels with attention, by tokens of text_width; 0: texts are embeddings of another encoder, which the
        levels read as they are, see `EmbeddedTexts`.
    width, multipliers: level i has width * multipliers[i] channels; every level after the first halves the resolution.
    blocks: residual blocks a level (one more on the way up), or a number for each level.
    attention: the levels with attention, so that one network takes any size; resolution r of size s is level
        log2(s / r). Negative numbers count from the deepest. The middle always has attention.
    head_width, heads: channels an attention head, or how many heads at every level; 0 and 0: one head.
    transformer_blocks: above 0, attention is that of latent diffusion, see `SpatialTransformer`: so many blocks.
    groups: of every norm, 0: 32, but at least 4 channels a group.
    scale_shift: the time also scales the features (arXiv:2102.09672).  dropout: DDPM used 0.1 on CIFAR-10.
    downsample_padding: 0 as TensorFlow's 'SAME' (DDPM), 1 symmetric.
    time_scale: multiplies c_time before its sines and cosines, which resolve differences of about 1. Steps of a table,
        flow times in thousandths and 250 ln(sigma) need 1; EDM's ln(sigma)/4 needs 100 to 1000.
    frequency_shift, cos_first: see `positional`.  fourier: above 0, `fourier_features` of this scale in its place.
    resample: "conv" convolves between levels; residual blocks do it by averages and repetition ("residual") or by the
        filter 1, 3, 3, 1 ("fir").
    rescale: the sums of residual blocks and attention are divided by sqrt 2.
    scale_skips: what the way up gets of the way down is divided by sqrt 2.  halve_first: every level halves before its
        blocks and doubles after them, so that none work at the input's resolution. Imagen's Efficient U-Net has both,
        and more blocks at the deeper levels (arXiv:2205.11487, app. B).

    Raises Refused for sizes that the depth does not divide, a label without classes, and numbers that do not fit.
    """

    input_weights: ClassVar[tuple[str, ...]] = ("enter.weight",)
    forms: ClassVar[tuple[str, ...]] = (
        *("label", "vector", "text", "boxes", "embedding", "image", "map", "hole"),
        "still",
    )

    def __init__(
        self,
        channels: int = 3,
        classes: int = 0,
        width: int = 128,
        multipliers: tuple[float, ...] = (1, 2, 2, 2),
        blocks: int | tuple[int, ...] = 2,
        attention: tuple[int, ...] = (1,),
        head_width: int = 0,
        groups: int = 0,
        eps: float = 1e-6,
        dropout: float = 0.0,
        scale_shift: bool = False,
        downsample_padding: int = 0,
        time_scale: float = 1.0,
        frequency_shift: int = 1,
        cos_first: bool = False,
        out_channels: int = 0,
        dimensions: int = 2,
        video: bool = False,
        resample: str = "conv",
        rescale: bool = False,
        fourier: float = 0.0,
        text_width: int = 128,
        heads: int = 0,
        transformer_blocks: int = 0,
        scale_skips: bool = False,
        halve_first: bool = False,
        conditions: Specs | None = None,
    ) -> None:
        super().__init__()
        refuse_dimensions(dimensions, "a U-Net")
        if video and dimensions != 3:
            raise Refused(
                f"video = true is for videos, (batch, channels, frames, height, width), not {dimensions} axes"
            )
        self.each_blocks = blocks_each(blocks, len(multipliers), "a U-Net")
        least = {"channels": (channels, 1), "width": (width, 1), "text_width": (text_width, 0)}
        for name, (value, few) in {**least, "transformer_blocks": (transformer_blocks, 0)}.items():
            if value < few:
                raise Refused(f"{name} = {value}: a U-Net needs at least {few}")
        refuse_levels(width, multipliers, attention, downsample_padding, resample, "a U-Net")
        if not 0 <= fourier < math.inf:
            raise Refused(f"fourier = {fourier:g}: the scale of the frequencies is above 0, or 0 for `positional`")
        self.channels, self.classes, self.width = channels, classes, width
        self.multipliers, self.blocks, self.attention = tuple(multipliers), blocks, tuple(attention)
        self.head_width, self.groups, self.eps, self.dropout = head_width, groups, eps, dropout
        self.scale_shift, self.downsample_padding, self.time_scale = scale_shift, downsample_padding, time_scale
        self.frequency_shift, self.cos_first = frequency_shift, cos_first
        self.out_channels, self.dimensions, self.video = out_channels or channels, dimensions, video
        self.resample, self.rescale, self.fourier = resample, rescale, fourier
        self.scale_skips, self.halve_first = scale_skips, halve_first
        self.heads, self.transformer_blocks = heads, transformer_blocks
        self.layers, axes = (layers := LAYERS[video]), 2 if video else dimensions
        self.texts = EmbeddedTexts({} if text_width else conditions or {}, "a U-Net of text_width = 0")
        known = without_still(conditions or {}, video)
        others = {name: spec for name, spec in known.items() if name not in self.texts.names}
        self.conditioning = ConditionEmbedding(others, 4 * width, "a U-Net", self.forms, text_width)
        text = text_width if self.conditioning.readers else self.texts.width
        widths = [round(width * m) for m in multipliers]
        shrink, grow = CHANGES[resample]
        same: dict[str, Any] = {"groups": groups, "eps": eps, "rescale": rescale}
        residual = partial(layers.residual, dropout=dropout, scale_shift=scale_shift, dimensions=axes, **same)
        parts = LevelParts(
            residual,
            residual,
            attention=partial(self._attention, text),
            halve=lambda out: (
                Resample(residual(out, out, change=shrink)) if shrink else layers.halve(out, downsample_padding, axes)
            ),
            double=lambda out: Resample(residual(out, out, change=grow)) if grow else layers.double(out, axes),
            join=partial(joined_smaller, layers.join) if scale_skips else layers.join,
        )
        self.time_in = begin(nn.Linear(width, 4 * width))
        self.time_hidden = begin(nn.Linear(4 * width, 4 * width))
        self.label = Label(classes, 4 * width)
        self.enter = begin(convolution(axes, channels + self.conditioning.channels, width, 3, padding=1))
        self.halve_input = parts.halve(width) if halve_first else None
        self.down, self.middle, self.up = levels(width, widths, self.each_blocks, attention, parts)
        self.double_output = Subpixels(widths[0], axes) if halve_first else None
        self.leave_norm = nn.GroupNorm(group_count(widths[0], groups), widths[0], eps=eps)
        self.leave = begin(convolution(axes, widths[0], self.out_channels, 3, padding=1), scale=0.0)
        # one matrix product gives every block its time; blocks are numbered down, middle, up
        self.time_widths = [m.time_width for m in self.modules() if isinstance(m, Residual)]
        self.time_out = nn.Linear(4 * width, sum(self.time_widths))
        nn.init.zeros_(self.time_out.bias)
        with torch.no_grad():
            for rows in self.time_out.weight.split(self.time_widths):
                nn.init.xavier_uniform_(rows)

    def forward(
        self,
        x: Tensor,
        c_time: Tensor,
        label: Tensor | None = None,
        drop: Drop = None,
        *,
        still: Tensor | None = None,
        **cond: Any,
    ) -> Tensor:
        if still is not None and self.video:
            return apart(self, x, c_time, still, {"label": label, "drop": drop, **cond})
        return self.ascend(self.descend(x, c_time, label, drop, **cond))

    def descend(
        self,
        x: Tensor,
        c_time: Tensor,
        label: Tensor | None = None,
        drop: Drop = None,
        *,
        hint: Tensor | None = None,
        **cond: Any,
    ) -> Trunk:
        """The way down and the middle; hint: (batch, width, ...), added before; other arguments: of `forward`."""
        self._check(x)
        given, cond = cond, {name: value for name, value in cond.items() if name not in self.texts.names}
        added, text = self.conditioning.read(len(x), cond, drop)
        text = self.texts(len(x), given, drop) if self.texts.names else text
        times = iter(self.embed(c_time, label, drop, added).to(x.dtype).split(self.time_widths, dim=1))
        x = self.layers.each(self.enter, self.conditioning.beside(x, cond, drop))
        x = x if hint is None else x + hint
        x = x if self.halve_input is None else self.halve_input(x, times)
        return descend(x, times, text, self.down, self.middle)

    def ascend(self, trunk: Trunk) -> Tensor:
        """The way up and the output."""
        x = ascend(trunk, self.up)
        x = x if self.double_output is None else self.layers.each(self.double_output, x)
        return self.layers.each(self._leave, x)

    def _leave(self, h: Tensor) -> Tensor:
        return self.leave(activate(normalise(h, self.leave_norm)))

    def first_part(self) -> Self:
        """The way down and the middle."""
        first = [way for way in (self.halve_input, self.down, self.middle) if way is not None]
        last = [part for part in (self.up, self.double_output, self.leave_norm, self.leave) if part is not None]
        count = sum(isinstance(part, Residual) for way in first for part in way.modules())
        found = own_copy(self, last)
        found.time_widths = self.time_widths[:count]
        rows = slice(sum(found.time_widths))
        found.time_out.weight = nn.Parameter(found.time_out.weight.detach()[rows].clone())
        found.time_out.bias = nn.Parameter(found.time_out.bias.detach()[rows].clone())
        return found

    def zero_layers(self) -> list[nn.Module]:
        widths = [round(self.width * m) for m in self.multipliers]
        levels = [[out] * (self.each_blocks[i] + (i < len(widths) - 1)) for i, out in enumerate(widths)]
        channels = [self.width, *(out for level in levels for out in level), widths[-1]]
        return [zeroed(convolution(self.dimensions, each, each, 1)) for each in channels]

    def features(
        self, x: Tensor, c_time: Tensor, hint: Tensor, label: Tensor | None = None, drop: Drop = None, **cond: Any
    ) -> list[Tensor]:
        trunk = self.descend(x, c_time, label, drop, hint=hint, **cond)
        return [*trunk.skips, trunk.h]

    def steered(
        self,
        x: Tensor,
        c_time: Tensor,
        added: Sequence[Tensor],
        label: Tensor | None = None,
        drop: Drop = None,
        **cond: Any,
    ) -> Tensor:
        trunk = self.descend(x, c_time, label, drop, **cond)
        trunk.skips = [skip + more for skip, more in zip(trunk.skips, added[:-1], strict=True)]
        trunk.h = trunk.h + added[-1]
        return self.ascend(trunk)

    def _attention(self, text: int, channels: int) -> nn.Module:
        """What a level attends with; text: how wide the tokens are that it reads."""
        heads = head_count(channels, self.heads, self.head_width)
        if self.transformer_blocks:
            return self.layers.transformer(channels, self.transformer_blocks, heads, self.groups, text)
        return self.layers.attention(channels, self.groups, self.eps, heads, self.rescale, text)

    def embed(self, c_time: Tensor, label: Tensor | None, drop: Drop, added: Tensor | None = None) -> Tensor:
        """Features of all blocks from the time, the class and other conditions, (batch, sum of time_widths).

        The time's sines are in float32 whatever the weights' dtype, and what is made of them in float32 or better, also
        under autocast.
        """
        with torch.autocast(c_time.device.type, enabled=False):
            c_time = c_time.float() * self.time_scale
            e = (
                fourier_features(c_time, self.width, self.fourier)
                if self.fourier
                else positional(c_time, self.width, shift=self.frequency_shift, cos_first=self.cos_first)
            )
            e = exactly(self.time_hidden, F.silu(exactly(self.time_in, e)))
            e = self.label(e, label, drop)
            e = F.silu(e if added is None else e + added.to(e.dtype))
            return self.time_out(e.to(self.time_out.weight.dtype))

    def depths(self) -> Mapping[str, Depth]:
        return depths_of([round(self.width * m) for m in self.multipliers], self.down, self.middle, self.up)

    def _check(self, x: Tensor) -> None:
        refuse_shape(x, self.channels, self.dimensions, "this U-Net")
        refuse_sizes(
            x[:, :, 0] if self.video else x,
            2 ** (len(self.multipliers) - 1 + self.halve_first),
            f"a U-Net of {len(self.multipliers)} levels",
        )
