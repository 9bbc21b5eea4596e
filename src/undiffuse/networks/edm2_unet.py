"""EDM2's U-Net: the levels of a U-Net made of layers that keep numbers at unit magnitude (arXiv:2312.02696)."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.jumps import TOLD
from undiffuse.core.network import AfterStep, Depth, HasDepths, Network
from undiffuse.networks.axes import refuse_dimensions, refuse_shape, refuse_sizes
from undiffuse.networks.blocks import Resample
from undiffuse.networks.conditions import ConditionEmbedding, Specs
from undiffuse.networks.embeddings import Label, fourier_features
from undiffuse.networks.levels import LevelParts, ascend, depths_of, descend, levels
from undiffuse.networks.magnitude_blocks import UnitAttention, UnitResidual
from undiffuse.networks.magnitudes import UnitWeights, bring_back, unit, unit_join, unit_silu
from undiffuse.networks.resampling import average, refuse_levels, repeat


class EDM2UNet(Network, AfterStep, HasDepths):
    """x (batch, channels, height, width), c_time (batch,) -> (batch, out_channels, height, width), at first all zero.

    Config G of the paper: weights of length 1, forced to it after every step; SiLU, sums and concatenations of unit
    magnitude; pixel normalisation on the way down; cosine attention; gains that start at 0; no biases and no group
    norms, and a channel of ones beside x. It wants inputs of unit variance, as parameterizations give, and a learning
    rate about ten times the U-Net's, since weights do not grow. The paper's networks for latents of 64 x 64 x 4 have
    the defaults and width 128 (XS, 124.7 million weights), 192 (S, 280.2), 256 (M, 497.8), 320 (L, 777.5).

    channels, out_channels, dimensions, classes, conditions, multipliers, blocks, attention, dropout, text_width: as of
        a `UNet`. A class, the vectors of others and the time are summed, divided by the root of how many there are.
    head_width: channels an attention head; 0: the largest power of 2 up to 64 that divides the channels.
    time_scale: multiplies c_time before its Fourier features, which resolve differences of about 1/4: 1 for EDM's
        ln(sigma)/4, about 0.004 for steps of a table of 1000 and flow times in thousandths.

    Raises Refused for sizes that the depth does not divide, a label without classes, and numbers that do not fit.
    """

    forms: ClassVar[tuple[str, ...]] = ("label", "vector", "text", "boxes", "embedding", "image", "map", "hole")
    half_pays: ClassVar[bool] = True

    def __init__(
        self,
        channels: int = 3,
        classes: int = 0,
        width: int = 192,
        multipliers: tuple[float, ...] = (1, 2, 3, 4),
        blocks: int = 3,
        attention: tuple[int, ...] = (-2, -1),
        head_width: int = 0,
        dropout: float = 0.0,
        time_scale: float = 1.0,
        out_channels: int = 0,
        dimensions: int = 2,
        text_width: int = 128,
        conditions: Specs | None = None,
    ) -> None:
        super().__init__()
        owner = "an EDM2 U-Net"
        refuse_dimensions(dimensions, owner)
        for name, value in {"channels": channels, "width": width, "blocks": blocks, "text_width": text_width}.items():
            if value < 1:
                raise Refused(f"{name} = {value}: {owner} needs at least 1")
        refuse_levels(width, multipliers, attention, 0, "residual", owner)
        self.channels, self.dimensions, self.time_scale = channels, dimensions, time_scale
        self.width, self.widths = width, [round(width * m) for m in multipliers]
        wide = max(self.widths)
        self.conditioning = ConditionEmbedding(conditions or {}, wide, owner, self.forms, text_width)
        if self.conditioning.null is not None:
            nn.init.normal_(self.conditioning.null)
        text = text_width if self.conditioning.readers else 0
        falling, rising = (
            partial(UnitResidual, normalised=each, dropout=dropout, dimensions=dimensions) for each in (True, False)
        )
        parts = LevelParts(
            falling,
            rising,
            attention=lambda out: UnitAttention(out, head_width, text),
            halve=lambda out: Resample(falling(out, out, change=average)),
            double=lambda out: Resample(rising(out, out, change=repeat)),
            join=unit_join,
        )
        kernel = (3,) * dimensions
        self.time_in, self.label = UnitWeights(2 * math.ceil(width / 2), wide), Label(classes, wide)
        self.enter = UnitWeights(channels + self.conditioning.channels + 1, width, kernel)
        self.down, self.middle, self.up = levels(width, self.widths, [blocks] * len(self.widths), attention, parts)
        self.leave = UnitWeights(self.widths[0], out_channels or channels, kernel)
        self.gain = nn.Parameter(torch.zeros((), dtype=torch.float32))
        self.time_widths = [m.time_width for m in self.modules() if isinstance(m, UnitResidual)]
        self.time_out = UnitWeights(wide, sum(self.time_widths))  # every block's features of the time
        self.after_step()

    def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Drop = None, **cond: Any) -> Tensor:
        refuse_shape(x, self.channels, self.dimensions, "this EDM2 U-Net")
        refuse_sizes(x, 2 ** (len(self.widths) - 1), f"an EDM2 U-Net of {len(self.widths)} levels")
        said = {name: cond.pop(name) for name in TOLD if name in cond}
        added, text = self.conditioning.read(len(x), cond, drop)
        told, _ = self.conditioning.read(len(x), said, None)
        times = iter(self.embed(c_time, label, drop, added, told).to(x.dtype).split(self.time_widths, dim=1))
        x = self.conditioning.beside(x, cond, drop)
        x = self.enter(torch.cat([x, torch.ones_like(x[:, :1])], dim=1))
        return self.leave(ascend(descend(x, times, text, self.down, self.middle), self.up)) * self.gain

    def embed(
        self,
        c_time: Tensor,
        label: Tensor | None,
        drop: Drop,
        added: Tensor | None = None,
        told: Tensor | None = None,
    ) -> Tensor:
        """Features of all blocks from the time, the class and other conditions, (batch, sum of time_widths).

        What is dropped, or left out, takes no part in the sum. told: is added as it is, since it grows from zero. In
        float32 at least, also under autocast.
        """
        with torch.autocast(c_time.device.type, enabled=False):
            dtype = torch.promote_types(self.time_out.weight.dtype, torch.float32)
            waves = math.sqrt(2) * fourier_features(c_time * self.time_scale, self.time_in.weight.shape[1], 1.0)
            time = self.time_in(waves.to(dtype))
            named = unit(self.label(torch.zeros_like(time), label, drop))
            parts = [time, named] if added is None else [time, named, unit(added.to(dtype))]
            there = torch.stack([part.detach().any(1, keepdim=True) for part in parts]).sum(0)
            features = torch.stack(parts).sum(0) / there.sqrt()
            return self.time_out(unit_silu(features if told is None else features + told.to(dtype)))

    def depths(self) -> Mapping[str, Depth]:
        return depths_of(self.widths, self.down, self.middle, self.up)

    @torch.no_grad()
    def after_step(self) -> None:
        """Every class's vector is brought back to unit magnitude; the layers do the same for their weights."""
        if self.label.table is not None:
            bring_back(self.label.table.weight)
