"""The error of a reconstruction's frequencies, block by block."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss


@dataclass(frozen=True)
class DCTLoss(ReconstructionLoss):
    """sum |C x_hat - C x|, C the orthonormal cosine transform (DCT-II) of blocks of `block` numbers along each axis.

    In the data's units, summed over an item, as `L1Loss`: C keeps lengths, so that both have the same range. What blurs
    leaves many small frequencies out, and each counts by its size; an error of one number costs more than in `L1Loss`,
    one of a whole area less. 0 for x_hat = x alone.
    A last block that is not full is a shorter one. Raises Refused for blocks of less than 2 and for data without axes
    to go along. Source: Ahmed, Natarajan and Rao, 1974; the blocks are JPEG's.
    """

    weight: float = 1.0
    block: int = 8

    def __post_init__(self) -> None:
        if self.block < 2:
            raise Refused(f"dct needs blocks of at least 2 numbers, not {self.block}")

    def __call__(self, seen: Reconstruction) -> Tensor:
        """The sum over the numbers of each item, (batch,)."""
        error = seen.x_hat - seen.x
        if error.ndim < 3:
            raise Refused(
                f"dct goes along the axes of sequences, images and volumes, and items of shape "
                f"{tuple(error.shape[1:])} have none: take l1 or l2"
            )
        with torch.autocast(error.device.type, enabled=False):
            for axis in range(2, error.ndim):
                blocks = error.movedim(axis, -1).split(self.block, dim=-1)
                error = torch.cat([each @ cosines(each) for each in blocks], dim=-1).movedim(-1, axis)
        return error.abs().flatten(1).sum(1)


def cosines(like: Tensor) -> Tensor:
    """That of the last axis of `like`, (n, n): in row i, column k sqrt((1 + [k > 0])/n) cos(pi (i + 1/2) k/n)"""
    n = like.shape[-1]
    places = torch.arange(n, dtype=torch.float64) + 0.5
    table = (places[:, None] * torch.arange(n, dtype=torch.float64) * (math.pi / n)).cos() * math.sqrt(2 / n)
    table[:, 0] /= math.sqrt(2)
    return table.to(like)
