"""DDPM's schedule: beta rises linearly over the steps."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.core.tabulated import Tabulated, check_betas, check_steps, products


@dataclass(frozen=True)
class LinearBeta(Tabulated):
    """beta_i = linear from beta_start to beta_end over i = 1 ... steps;  alpha_bar_i = prod (1 - beta_j).

    beta_start, beta_end: none: 1e-4 and 0.02 times 1000/steps, so that any number of steps destroys as much; given,
    they are taken as they are. Source: arXiv:2006.11239, sec. 4 (1000 steps, 1e-4 to 0.02); 1000/steps: arXiv:
    2102.09672, released code. Raises Refused for 20 steps or fewer without a beta_end, which would be 1 or more.
    """

    steps: int = 1000
    beta_start: float | None = None
    beta_end: float | None = None

    aliases: ClassVar[tuple[str, ...]] = ("linear", "ddpm")

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if self.beta_end is None and self.steps <= 20:
            raise Refused(
                f"linear_beta of {self.steps} steps has no betas of its own: its last, 0.02 times 1000/{self.steps}, "
                f"would not be below 1; take schedule.name=cosine schedule.steps={self.steps}, or set "
                "schedule.beta_start and schedule.beta_end"
            )
        scale = 1000 / self.steps
        start = 1e-4 * scale if self.beta_start is None else self.beta_start
        end = 0.02 * scale if self.beta_end is None else self.beta_end
        check_betas(start, end)
        object.__setattr__(self, "beta_start", start)
        object.__setattr__(self, "beta_end", end)

    def table(self) -> np.ndarray:
        return products(np.linspace(np.float64(self.beta_start), np.float64(self.beta_end), self.steps))
