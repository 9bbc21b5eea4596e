"""Blur: a Gaussian blur."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.operator import Operator


@dataclass(frozen=True)
class Blur(Operator):
    """A Gaussian blur of `std` pixels, cut at three of them, with reflected edges."""

    std: float

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise Refused(f"a blur needs std > 0, in pixels, not {self.std:g}")

    def __call__(self, x: Tensor) -> Tensor:
        reach = min(math.ceil(3 * self.std), min(x.shape[-2:]) - 1)
        places = torch.arange(-reach, reach + 1, dtype=torch.float64)
        kernel = (-0.5 * (places / self.std) ** 2).exp()
        kernel = (kernel / kernel.sum()).to(x)
        channels = x.shape[1]
        x = F.pad(x, (reach,) * 4, mode="reflect")
        x = F.conv2d(x, kernel.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
        return F.conv2d(x, kernel.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
