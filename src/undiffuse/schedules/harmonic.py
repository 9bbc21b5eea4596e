"""The first diffusion schedule: every step erases the same share of what there was at the start."""

from dataclasses import dataclass

import numpy as np

from undiffuse.core.tabulated import Tabulated, check_steps


@dataclass(frozen=True)
class Harmonic(Tabulated):
    """beta_i = 1/(T - i + 1) over i = 1 ... steps, so that alpha_bar_i = 1 - i/T; nothing is left at t = 1.

    Source: arXiv:1503.03585, sec. 2.4.1 (T = 40 for points in the plane).
    """

    steps: int = 40

    def __post_init__(self) -> None:
        check_steps(self.steps)

    def table(self) -> np.ndarray:
        return 1 - np.arange(1, self.steps + 1) / self.steps
