"""DDPM's schedule: beta rises linearly over the steps."""

from dataclasses import dataclass

import numpy as np

from undiffuse.core.tabulated import Tabulated, check_betas, check_steps, products


@dataclass(frozen=True)
class LinearBeta(Tabulated):
    """beta_i = linear from beta_start to beta_end over i = 1 ... steps;  alpha_bar_i = prod (1 - beta_j).

    Source: arXiv:2006.11239, sec. 4 (T = 1000, 1e-4 to 0.02).
    """

    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_betas(self.beta_start, self.beta_end)

    def table(self) -> np.ndarray:
        return products(np.linspace(self.beta_start, self.beta_end, self.steps))
