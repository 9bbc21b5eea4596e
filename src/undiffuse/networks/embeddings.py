"""Embeddings of time and class: the time as sines and cosines, a class as a learned vector, the null class as zero."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.condition_dropout import Drop, drop_mask
from undiffuse.core.errors import Refused


def positional(c_time: Tensor, width: int, *, shift: int = 1, cos_first: bool = False) -> Tensor:
    """Sines and cosines of the time at geometric frequencies from 1 to about 1e-4, always in float32.

    f_i = 10000^(-i / (half - shift)), half = width // 2;  [sin(t f), cos(t f)], or cosines first.
    c_time: (batch,); returns (batch, width), with a zero at the end where width is odd.
    shift 1, sines first: DDPM's (arXiv:2006.11239); shift 0, cosines first: that of arXiv:2102.09672.
    """
    half = width // 2
    index = torch.arange(half, dtype=torch.float32, device=c_time.device)
    phase = c_time.float()[:, None] * torch.exp(index * -math.log(10000.0) / max(half - shift, 1))  # rounded as others
    parts = [phase.cos(), phase.sin()] if cos_first else [phase.sin(), phase.cos()]
    return F.pad(torch.cat(parts, dim=1), (0, width % 2))


def fourier_features(c_time: Tensor, width: int, scale: float) -> Tensor:
    """sin and cos of 2 pi scale w_k c_time, w the midpoint quantiles of the size of a standard normal, in float32.

    Gaussian Fourier features (arXiv:2006.10739, arXiv:2011.13456, app. H) without their chance: a frequency and its
    negative give the same two features up to sign. c_time: (batch,); returns (batch, width), a zero last if odd.
    """
    half = width // 2
    index = torch.arange(half, dtype=torch.float32, device=c_time.device)
    w = math.sqrt(2) * torch.erfinv((index + 0.5) / max(half, 1))
    phase = c_time.float()[:, None] * (2 * math.pi * scale * w)
    return F.pad(torch.cat([phase.sin(), phase.cos()], dim=1), (0, width % 2))


def exactly(layer: Any, x: Tensor) -> Tensor:
    """A linear layer's outputs in float32, or in its dtype where that is finer: a rounded time is another time."""
    dtype = torch.promote_types(layer.weight.dtype, torch.float32)
    return F.linear(x.to(dtype), layer.weight.to(dtype), layer.bias.to(dtype))


class RawTime(nn.Module):
    """The time as plain features: f = c_time * scale + shift, and `waves` pairs sin(pi k f), cos(pi k f), k = 1, 2 ...

    The features should span about -1/2 to 1/2. `scale` and `shift` bring there what the scales hand over:

        what c_time is                      from  to      scale    shift
        a step of a table of 1000 steps     0     999     1/999    -0.5     the lectures' t/(T-1) - 1/2
        flow time, in thousandths           0     1000    1/1000   -0.5
        EDM's ln(sigma)/4, 0.002 to 80      -1.6  1.1     0.4      0.1

    One number bends slowly inside a small network: a few waves let it tell neighbouring noise levels apart.
    """

    def __init__(self, scale: float, shift: float, waves: int) -> None:
        super().__init__()
        if waves < 0:
            raise Refused(f"waves = {waves}: the number of sine and cosine pairs cannot be negative")
        self.scale, self.shift, self.waves = scale, shift, waves
        self.width = 1 + 2 * waves

    def forward(self, c_time: Tensor) -> Tensor:
        f = c_time.float()[:, None] * self.scale + self.shift  # (batch, 1)
        phase = f * math.pi * torch.arange(1, self.waves + 1, dtype=torch.float32, device=f.device)
        return torch.cat([f, phase.sin(), phase.cos()], dim=1)  # (batch, width)


class Label(nn.Module):
    """A learned vector a class; the null class is the zero vector, or with `learned_null` the table's last row.

    label: (batch,) integers, None: null for all.  drop: True: null for that sample, see `drop_mask`.
    """

    def __init__(self, classes: int, width: int, learned_null: bool = False) -> None:
        super().__init__()
        if classes < 0:
            raise Refused(f"classes = {classes}: give the number of classes, or 0 for none")
        self.classes, self.learned_null = classes, learned_null and classes > 0
        self.table = nn.Embedding(classes + self.learned_null, width) if classes else None

    def forward(self, like: Tensor, label: Tensor | None, drop: Drop) -> Tensor:
        """`like` (batch, width) plus the classes' vectors."""
        if self.table is None:
            if label is not None:
                raise Refused("a label was given, but this network was built without classes (classes = 0)")
            return like
        missing = self.table.weight[-1].to(like.dtype) if self.learned_null else like.new_zeros(())
        if label is None:
            return like + missing if self.learned_null else like
        vector = self.table(label.long()).to(like.dtype)
        if (null := drop_mask(drop, "label")) is not None:
            vector = torch.where(null[:, None], missing, vector)
        return like + vector
