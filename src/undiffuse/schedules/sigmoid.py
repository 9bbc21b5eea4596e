"""The sigmoid schedule: beta rises along a logistic curve, as molecules use it."""

from dataclasses import dataclass

import numpy as np

from undiffuse.core.tabulated import Tabulated, check_betas, check_steps, products


@dataclass(frozen=True)
class Sigmoid(Tabulated):
    """beta_i = beta_start + (beta_end - beta_start) / (1 + exp(-u_i)), u linear from -6 to 6.

    Source: arXiv:2203.02923, released configurations (GeoDiff: T = 5000, 1e-7 to 2e-3).
    """

    steps: int = 5000
    beta_start: float = 1e-7
    beta_end: float = 2e-3

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_betas(self.beta_start, self.beta_end)

    def table(self) -> np.ndarray:
        return products(
            self.beta_start + (self.beta_end - self.beta_start) / (1 + np.exp(-np.linspace(-6, 6, self.steps)))
        )
