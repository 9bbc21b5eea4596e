"""Equivariance: scaled and turned latents decode to scaled and turned data."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss


@dataclass(frozen=True)
class EquivarianceLoss(ReconstructionLoss):
    """n mean |decode(T z) - T x|,  T a scale, and of images and volumes a turn by a multiple of 90 degrees.

    In the data's units; n, the numbers of an item, makes it comparable with `L1Loss`. 0 where the decoder is
    equivariant and the reconstruction exact. It makes latents smooth, so that diffusion learns them faster, and costs
    one decoding of a smaller item. T is the same for all items of a step, one of all pairs but the one that does
    nothing, each as likely; volumes turn about their first axis. Items are made smaller by averaging over areas.
    scales: of a side, each above 0 and at most 1; those of the latents are rounded to whole numbers.
    Raises Refused for other scales, and for latents without axes.
    Source: arXiv:2502.09509, eq. 5, as a term of its own beside the reconstruction.
    """

    weight: float = 1.0
    scales: tuple[float, ...] = (0.25, 0.5, 0.75)

    def __post_init__(self) -> None:
        if not all(0 < scale <= 1 for scale in self.scales):
            raise Refused(f"equivariance makes items smaller, by scales above 0 and at most 1, not {self.scales}")

    def __call__(self, seen: Reconstruction) -> Tensor:
        """The error of each item, (batch,)."""
        if seen.z.ndim < 3:
            raise Refused(
                f"equivariance scales latents along their axes, and latents of shape {tuple(seen.z.shape[1:])} have "
                "none: leave it out"
            )
        scale, turns = self.drawn(seen.random, seen.z.ndim - 2)
        small = tuple(max(1, round(side * scale)) for side in seen.z.shape[2:])
        sides = [side * new // old for side, new, old in zip(seen.x.shape[2:], small, seen.z.shape[2:], strict=True)]
        z, x = (turned(smaller(each, to), turns) for each, to in ((seen.z, small), (seen.x, tuple(sides))))
        error = seen.model.decode(z) - x
        return seen.x[0].numel() * error.abs().flatten(1).mean(1)

    def drawn(self, random: Random, axes: int) -> tuple[float, int]:
        """The scale and the number of quarter turns of a step, for data of so many axes."""
        pairs = [(s, k) for s in (1.0, *self.scales) for k in range(4 if axes > 1 else 1) if (s, k) != (1.0, 0)]
        return pairs[int(Random(random.seed).integers(len(pairs), (1,)))]  # on the host, and of the step alone


def smaller(x: Tensor, sides: tuple[int, ...]) -> Tensor:
    """x (batch, channels, *places) with these sides: each new place is the mean of an area."""
    return x if tuple(x.shape[2:]) == sides else F.interpolate(x, size=sides, mode="area")


def turned(x: Tensor, turns: int) -> Tensor:
    """x turned by so many quarters in the plane of its last two axes."""
    return torch.rot90(x, turns, (-2, -1)) if turns else x
