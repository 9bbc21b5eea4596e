"""Mask: some elements are seen, the others are not."""

from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.operator import Operator


@dataclass(frozen=True, eq=False)
class Mask(Operator):
    """x times a mask, (1 or channels, height, width) or any shape that broadcasts to a sample: 1 is seen, 0 is not."""

    mask: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x * fitting(self.mask, x)


def fitting(mask: Tensor, x: Tensor, what: str = "a mask") -> Tensor:
    """The mask in x's dtype; raises Refused, with both shapes, where it does not broadcast to a batch like x."""
    try:
        fits = torch.broadcast_shapes(mask.shape, x.shape) == x.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise Refused(f"{what} of shape {tuple(mask.shape)} does not fit samples of shape {tuple(x.shape[1:])}")
    return mask.to(x)
