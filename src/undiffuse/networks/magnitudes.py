"""EDM2's layers, which keep numbers at unit magnitude: the mean square of what they are given and give is 1.

Source: arXiv:2312.02696, sec. 2.3 and app. B.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.network import AfterStep

EPS = 1e-4
SILU = 0.596  # the root mean square of the SiLU of a standard normal number, eq. 81
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def unit(x: Tensor, axes: Sequence[int] = (1,)) -> Tensor:
    """x divided by its root mean square along the axes; what is 0 stays 0.

    Along the channels it is pixel normalisation.
    """
    size = math.sqrt(math.prod(x.shape[axis] for axis in axes))
    return x * (size / _length(x, axes, size)).to(x.dtype)


def bring_back(weight: Tensor, axes: Sequence[int] = (1,)) -> None:
    """Make a weight `unit` along the axes, in place; one without memory has no numbers that could be.

    PyTorch imports its compiler, a second and 150 MB, to calculate the length of a tensor without memory.
    """
    if not weight.is_meta:
        weight.copy_(unit(weight, axes))


def _length(x: Tensor, axes: Sequence[int], size: float) -> Tensor:
    """The length of x along the axes, kept above 0, at least in float32. size: the root of their number."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.linalg.vector_norm(x, dim=tuple(axes), keepdim=True, dtype=dtype) + EPS * size


def unit_silu(x: Tensor) -> Tensor:
    """silu(x) / 0.596, eq. 81."""
    return F.silu(x) / SILU


def unit_sum(a: Tensor, b: Tensor, share: float) -> Tensor:
    """((1 - share) a + share b) / sqrt((1 - share)^2 + share^2), eq. 88."""
    return torch.lerp(a, b, share) / math.hypot(1 - share, share)


def unit_join(a: Tensor, b: Tensor) -> Tensor:
    """The channels of both, each part scaled to have half of the whole's square, eq. 103 with a share of 1/2."""
    n, m = a.shape[1], b.shape[1]
    whole = math.sqrt((n + m) / 2)
    return torch.cat([a * (whole / math.sqrt(n)), b * (whole / math.sqrt(m))], dim=1)


class UnitWeights(nn.Module, AfterStep):
    """A linear layer, or a convolution, without bias: each output's weights have length 1, so variance is kept.

    They are kept at root mean square 1, in the forward pass they are divided by it and by sqrt(inputs) (eq. 47), and
    after every step they are brought back to it (forced weight normalisation, eq. 66), so that a step of the
    optimiser always moves them by the same share.
    x: (batch, inside, one size an axis) with a kernel, (..., inside) without; kernel: its size along each axis.
    """

    def __init__(self, inside: int, out: int, kernel: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, inside, *kernel, dtype=torch.float32))
        self.padding = tuple(size // 2 for size in kernel)
        self.after_step()

    def forward(self, x: Tensor) -> Tensor:
        axes, size = range(1, self.weight.ndim), math.sqrt(self.weight[0].numel())
        weight = self.weight.to(x.dtype) * (1 / _length(self.weight, axes, size)).to(x.dtype)
        return CONVOLUTIONS[len(self.padding)](x, weight, padding=self.padding) if self.padding else F.linear(x, weight)

    @torch.no_grad()
    def after_step(self) -> None:
        bring_back(self.weight, range(1, self.weight.ndim))
