"""Latent diffusion's schedule: the square root of beta rises linearly over the steps."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from undiffuse.core.tabulated import Tabulated, check_betas, check_steps, products


@dataclass(frozen=True)
class ScaledLinearBeta(Tabulated):
    """sqrt(beta_i) = linear from sqrt(beta_start) to sqrt(beta_end);  alpha_bar_i = prod (1 - beta_j).

    Source: arXiv:2112.10752, released configurations (there named "linear": T = 1000, 0.0015 to 0.0195;
    Stable Diffusion 0.00085 to 0.012).
    """

    steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012

    aliases: ClassVar[tuple[str, ...]] = ("scaled_linear", "stable_diffusion")

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_betas(self.beta_start, self.beta_end)

    def table(self) -> np.ndarray:
        roots = np.linspace(math.sqrt(self.beta_start), math.sqrt(self.beta_end), self.steps)
        return products(roots**2)
