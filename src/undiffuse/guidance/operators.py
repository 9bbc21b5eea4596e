"""Operators of common measurements of images: what is seen of them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random


@dataclass(frozen=True, eq=False)
class Mask:
    """x times a mask, (1 or channels, height, width) or any shape that broadcasts to a sample: 1 is seen, 0 is not."""

    mask: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x * fitting(self.mask, x)


@dataclass(frozen=True)
class Pool:
    """The mean of every factor x factor block, the measurement of super-resolution."""

    factor: int

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise Refused(f"super-resolution needs a factor of 2 or more, not {self.factor}")

    def __call__(self, x: Tensor) -> Tensor:
        if any(size % self.factor for size in x.shape[-2:]):
            raise Refused(f"blocks of {self.factor} do not divide images of {x.shape[-2]} x {x.shape[-1]}")
        return F.avg_pool2d(x, self.factor)


@dataclass(frozen=True)
class Blur:
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


@dataclass(frozen=True)
class Grey:
    """The mean over channels."""

    def __call__(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)


@dataclass(frozen=True)
class Projection:
    """`count` random projections of a sample, orthonormal, the same for every sample: (batch, count)."""

    count: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise Refused(f"a random projection needs a count of 1 or more, not {self.count}")

    def __call__(self, x: Tensor) -> Tensor:
        size = x[0].numel()
        if self.count > size:
            raise Refused(f"a sample has {size} elements, which is fewer than {self.count} projections")
        rows = Random(self.seed).normal((size, self.count), dtype=torch.float64)
        basis: Tensor = torch.linalg.qr(rows)[0]  # pyright: ignore[reportUnknownMemberType]
        return x.flatten(1) @ basis.to(x)


def fitting(mask: Tensor, x: Tensor, what: str = "a mask") -> Tensor:
    """The mask in x's dtype; raises Refused, with both shapes, where it does not broadcast to a batch like x."""
    try:
        fits = torch.broadcast_shapes(mask.shape, x.shape) == x.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise Refused(f"{what} of shape {tuple(mask.shape)} does not fit samples of shape {tuple(x.shape[1:])}")
    return mask.to(x)
