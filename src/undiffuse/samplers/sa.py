"""SA-Solver: a stochastic predictor and corrector through the last guesses, one call a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.linear_multistep import PredictorCorrector, level, polynomial, wide


@dataclass(frozen=True)
class SA(PredictorCorrector):
    """x_s = (sigma_s/sigma_t) e^(-tau^2 h) x_t + pull D + sigma_s sqrt(1 - e^(-2 tau^2 h)) noise,  h = l_s - l_t,
    D the mean, weighed by e^((1 + tau^2) l), of the polynomial in l = log(alpha/sigma) through the last guesses.

    tau: how much fresh noise, 1 that of the reverse SDE and 0 none, in steps that start with sigma/alpha from `lowest`
    to `highest`; elsewhere none. order: how many guesses predict x_s. corrector: how many, the new one among them,
    correct x_t before the next step, at no call and with the same noise; 0 leaves it out. The integrals are exact; the
    authors' code, and diffusers, take UniPC's "bh1" where there are two guesses.
    The first steps have the order that their history allows, and one that lands on sigma = 0 has order 1.
    Source: arXiv:2309.05019, alg. 1, eq. 14 and 17.
    """

    order: int = 2
    corrector: int = 2
    tau: float = 1.0
    lowest: float = 0.0
    highest: float = 1e9

    aliases: ClassVar[tuple[str, ...]] = ("sa_solver", "stochastic_adams")

    def __post_init__(self) -> None:
        if not (1 <= self.order <= 4 and 0 <= self.corrector <= 4 and self.tau >= 0 and self.lowest <= self.highest):
            raise Refused(f"sa has order 1 to 4, corrector 0 to 4, tau >= 0 and lowest <= highest; not {self!r}")

    @property
    def convergence_order(self) -> int:
        if self.tau:
            return 0
        return min(self.corrector, self.order + 1) if self.corrector else self.order

    def keep(self, process: Any, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        start = level(process.schedule, t)
        h = (level(process.schedule, s) - start).clamp(max=1e30)  # finite, so that tau = 0 times it is 0
        return process.keep(s, t, x_t) * wide((-(self._tau(start) ** 2) * h).exp(), x_t).double()

    def _tau(self, start: Tensor) -> Tensor:
        """tau of a step that starts at this level, of its shape."""
        noise = (-start).exp()
        return torch.where((noise >= self.lowest) & (noise <= self.highest), torch.full_like(noise, self.tau), 0.0)

    def shares(self, levels: Sequence[Tensor], start: Tensor, end: Tensor) -> Sequence[Tensor]:
        return polynomial(levels, start, end, 1 + self._tau(start) ** 2)
