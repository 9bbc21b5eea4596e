"""Blur: a Gaussian blur, of one width or of one for each item."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.operator import Operator

CUT = 3  # deviations that a kernel reaches to


@dataclass(frozen=True)
class Blur(Operator):
    """A Gaussian blur of `std` pixels, cut at three of them, with reflected edges."""

    std: float

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise Refused(f"a blur needs std > 0, in pixels, not {self.std:g}")

    def __call__(self, x: Tensor) -> Tensor:
        return blurred(x, torch.full((len(x),), self.std, dtype=torch.float64, device=x.device))


def blurred(x: Tensor, std: Tensor) -> Tensor:
    """Images x (batch, channels, height, width), each under a Gaussian blur of its own `std` in pixels, (batch,)."""
    n, channels, height, width = x.shape
    std = std.to(torch.float64)[:, None]
    reach = min(math.ceil(CUT * float(std.max())), min(height, width) - 1)
    places = torch.arange(-reach, reach + 1, dtype=torch.float64, device=x.device)
    kernel = (-0.5 * (places / std) ** 2).exp().masked_fill(places.abs() > (CUT * std).ceil(), 0.0)
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(x).repeat_interleave(channels, 0)
    x = F.pad(x, (reach,) * 4, mode="reflect").reshape(1, n * channels, height + 2 * reach, width + 2 * reach)
    x = F.conv2d(x, kernel[:, None, :, None], groups=n * channels)
    return F.conv2d(x, kernel[:, None, None, :], groups=n * channels).reshape(n, channels, height, width)
