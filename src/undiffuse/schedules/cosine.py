"""Improved DDPM's cosine schedule, as the table of the paper or as the continuous law behind it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.core.tabulated import Tabulated, check_steps, products


@dataclass(frozen=True)
class Cosine(Tabulated):
    """alpha_bar(t) = f(t) / f(0), f(t) = cos^2(pi/2 (t + offset) / (1 + offset)), with every beta at most max_beta.

    Source: arXiv:2102.09672, eq. 17 (offset 0.008, betas clipped at 0.999).
    For the law without a table see ContinuousCosine.
    """

    steps: int = 1000
    offset: float = 0.008
    max_beta: float = 0.999

    aliases: ClassVar[tuple[str, ...]] = ("squaredcos_cap_v2", "squaredcos", "iddpm")

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if not self.offset >= 0 or not 0 < self.max_beta < 1:
            raise Refused(f"cosine needs offset >= 0 and max_beta in (0, 1), not {self.offset:g} and {self.max_beta:g}")

    def table(self) -> np.ndarray:
        f = np.cos(np.pi / 2 * (np.arange(self.steps + 1) / self.steps + self.offset) / (1 + self.offset)) ** 2
        return products(np.minimum(1 - f[1:] / f[:-1], self.max_beta))
