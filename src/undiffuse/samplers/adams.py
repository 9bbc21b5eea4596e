"""Adams: an exponential multistep predictor-corrector for the probability-flow ODE, one call a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.linear_multistep import PredictorCorrector, lagrange, mean

_CLEAN = 1e-12  # below this noise level a time is data


@dataclass(frozen=True)
class Adams(PredictorCorrector):
    """x_s = (sigma_s/sigma_t) x_t + sigma_s integral of D d(alpha/sigma) from t to s,
    D the polynomial through the last guesses.

    The polynomial is in u = asinh(far / sqrt(v^2 + knee^2)), v = sigma/alpha. The guesses leave the mean of the data as
    1/v where v is large, change with log v where data take shape, and stand still as v^2 goes to 0, and so does u. So
    the steps out of pure noise and onto sigma = 0 are as good as the others, where a polynomial in log v learns nothing
    from the first and takes the last in first order.
    order: how many guesses predict x_s. corrector: how many, the new one among them, correct x_t before the next step,
    which costs no call
    (arXiv:2302.04867, sec. 3.1); 0 leaves it out. The first steps have the order that their history allows.
    Source: exponential Adams methods as in arXiv:2204.13902, eq. 14;
    u and the defaults are our own, chosen by measurement (benchmarks/accuracy.py).
    """

    order: int = 4
    corrector: int = 4
    knee: float = 0.7
    far: float = 3.0

    aliases: ClassVar[tuple[str, ...]] = ("exponential_adams", "adams_bashforth_moulton")

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 4 or not 0 <= self.corrector <= 5 or min(self.knee, self.far) <= 0:
            raise Refused(f"adams has order 1 to 4, corrector 0 to 5, knee > 0 and far > 0; not {self!r}")

    @property
    def convergence_order(self) -> int:
        return min(self.corrector, self.order + 1) if self.corrector else self.order

    def shares(self, levels: Sequence[Tensor], start: Tensor, end: Tensor) -> Sequence[Tensor]:
        """The mean of each guess's Lagrange polynomial over alpha/sigma from start to end, or, onto data, its value
        there.
        """
        nodes = [self._u(each.exp()) for each in levels]
        low, high = start.exp(), end.exp()
        lands = high >= 1 / _CLEAN
        means = mean(
            low, torch.where(lands, low + 1, high), lambda r: (torch.ones_like(r), lagrange(nodes, self._u(r)))
        )
        there = lagrange(nodes, self._u(torch.full_like(high, torch.inf)))
        return [torch.where(lands, value, share) for value, share in zip(there, means, strict=True)]

    def _u(self, r: Tensor) -> Tensor:
        """The polynomial's variable at r = alpha/sigma, from 0 (r = 0) to asinh(far/knee) (r infinite)."""
        return (self.far / (r**-2 + self.knee**2).sqrt()).asinh()
