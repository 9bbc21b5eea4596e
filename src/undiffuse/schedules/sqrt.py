"""Diffusion-LM's schedule: noise grows fast at first, where words are easiest to read."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.core.tabulated import Tabulated, check_steps, products


@dataclass(frozen=True)
class Sqrt(Tabulated):
    """alpha_bar(t) = f(t) / f(0), f(t) = 1 - sqrt(t + offset), with every beta at most max_beta.

    Source: arXiv:2205.14217, app. A (offset 1e-4, T = 2000, betas clipped at 0.999 in the released code).
    """

    steps: int = 2000
    offset: float = 1e-4
    max_beta: float = 0.999

    aliases: ClassVar[tuple[str, ...]] = ("diffusion_lm",)

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if not 0 <= self.offset < 1 or not 0 < self.max_beta < 1:
            raise Refused(
                f"sqrt needs an offset in [0, 1) and max_beta in (0, 1), not {self.offset:g} and {self.max_beta:g}"
            )

    def table(self) -> np.ndarray:
        law = np.maximum(1 - np.sqrt(np.arange(self.steps + 1) / self.steps + self.offset), 0)
        return products(np.minimum(1 - law[1:] / law[:-1], self.max_beta))
