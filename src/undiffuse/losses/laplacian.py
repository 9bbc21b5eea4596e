"""The error of a reconstruction at every scale: fine detail and large areas count alike."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss

TAPS = (0.125, 0.375, 0.375, 0.125)
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class LaplacianLoss(ReconstructionLoss):
    """sum over levels j of n / n_j sum |L_j(x_hat) - L_j(x)|, L_j a level of the Laplacian pyramid, n_j its numbers.

    Level j holds what blurring and halving for the (j+1)th time takes away; the last level, what is left of the item.
    With n / n_j, which is 2^(d j) for d axes, each level weighs as much. In the data's units, summed
    over an item: an error that varies from number to number costs about what it costs `L1Loss`, one that is the same
    everywhere as much. 0 for x_hat = x alone.
    levels: how many times to halve; fewer where an item's shortest side becomes 1 before. Raises Refused for fewer than
    1 and for data without axes to go along. Source: Burt and Adelson, 1983; arXiv:1707.05776, sec. 2.
    """

    weight: float = 1.0
    levels: int = 4

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise Refused(f"laplacian needs at least 1 level, not {self.levels}")

    def __call__(self, seen: Reconstruction) -> Tensor:
        """The sum over the numbers of each item, (batch,)."""
        error = seen.x_hat - seen.x  # its pyramid is the difference of theirs
        with torch.autocast(error.device.type, enabled=False):
            pyramid = laplacian_pyramid(error, self.levels)
        count = pyramid[0][0].numel()
        found = [count / level[0].numel() * level.abs().flatten(1).sum(1) for level in pyramid]
        return sum(found[1:], start=found[0])


def laplacian_pyramid(x: Tensor, levels: int) -> list[Tensor]:
    """The levels of x (batch, channels, *places), finest first; see `LaplacianLoss`."""
    axes = x.ndim - 2
    if axes not in CONVOLUTIONS:
        raise Refused(
            f"laplacian goes along the axes of sequences, images and volumes, and items of shape {tuple(x.shape[1:])} "
            "have none: take l1 or l2"
        )
    found: list[Tensor] = []
    while len(found) < levels and min(x.shape[2:]) > 1:
        coarse = halved(x)
        found.append(x - F.interpolate(coarse, size=x.shape[2:], mode=LINEAR[axes], align_corners=False))
        x = coarse
    return [*found, x]


def halved(x: Tensor) -> Tensor:
    """x blurred with TAPS and every second place taken along each axis; an odd side is rounded up."""
    axes = x.ndim - 2
    kernel = taps = torch.tensor(TAPS, dtype=x.dtype, device=x.device)
    for _ in range(axes - 1):
        kernel = kernel[..., None] * taps
    pads = [amount for side in reversed(x.shape[2:]) for amount in (1, 1 + side % 2)]
    alone = F.pad(x.flatten(0, 1)[:, None], pads, mode="replicate")  # each channel by itself
    return CONVOLUTIONS[axes](alone, kernel[None, None], stride=2)[:, 0].unflatten(0, x.shape[:2])
