"""Absorbing diffusion's schedule: of the tokens that are left, one in so many as there are steps to go is masked."""

from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.schedule import Mixing
from undiffuse.core.tabulated import check_steps


@dataclass(frozen=True)
class JSD(Mixing):
    """beta_i = 1/(T - i + 1), so that the chance to be masked is i/T exactly, and nothing is left at t = 1.

    sigma(t) = t at t = i/T, T = steps: log_linear without a floor. Source: arXiv:2107.03006, app. A.2.2 and A.7.
    """

    steps: int = 1000

    def __post_init__(self) -> None:
        check_steps(self.steps)

    def sigma(self, t: Tensor) -> Tensor:
        return t.double()

    def time(self, log_snr: Tensor) -> Tensor:
        return (-log_snr.double() / 2).sigmoid()
