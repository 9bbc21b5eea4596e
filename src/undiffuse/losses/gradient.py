"""The error of a reconstruction's finite differences: edges where they belong."""

from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss


@dataclass(frozen=True)
class GradientLoss(ReconstructionLoss):
    """sum over axes, then over numbers, of |d_axis x_hat - d_axis x|,  (d x)_i = x_(i+1) - x_i.

    In the data's units, summed over an item, as `L1Loss`; 0 where x_hat - x is the same number everywhere, so that it
    belongs beside a loss of the values. Raises Refused for data without axes to go along. Source: arXiv:1511.05440,
    eq. 6 with alpha = 1, with the differences' signs.
    """

    weight: float = 1.0

    def __call__(self, seen: Reconstruction) -> Tensor:
        """The sum over the numbers of each item, (batch,)."""
        error = seen.x_hat - seen.x
        if error.ndim < 3:
            raise Refused(
                f"gradient compares neighbours, and items of shape {tuple(error.shape[1:])} have none: take l1 or l2"
            )
        found = [error.diff(dim=axis).abs().flatten(1).sum(1) for axis in range(2, error.ndim)]
        return sum(found[1:], start=found[0])
