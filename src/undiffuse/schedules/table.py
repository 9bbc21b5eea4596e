"""A person's own schedule: any array of betas or alpha-bars, if wished with zero terminal signal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.tabulated import Tabulated, products


@dataclass(frozen=True)
class TableSchedule(Tabulated):
    """alpha_bar_i = prod_{j <= i} (1 - beta_j), from either array of T numbers.

    betas or alpha_bars: one of them. zero_terminal_snr: shift and scale sqrt(alpha_bar) so that nothing of the data is
    left
    at t = 1 while the first step stays as it is (arXiv:2305.08891, alg. 1).
    Raises Refused if both or none are given, for betas outside (0, 1] and for alpha-bars that do not fall.
    """

    betas: Sequence[float] | np.ndarray | Tensor = ()
    alpha_bars: Sequence[float] | np.ndarray | Tensor = ()
    zero_terminal_snr: bool = False

    aliases: ClassVar[tuple[str, ...]] = ("trained_betas", "betas")

    def __post_init__(self) -> None:
        for field in ("betas", "alpha_bars"):  # arrays and tensors become tuples: frozen, comparable, printable
            object.__setattr__(self, field, tuple(float(v) for v in getattr(self, field)))
        if bool(self.betas) == bool(self.alpha_bars):
            raise Refused("table needs betas or alpha_bars, one of the two")
        object.__setattr__(self, "steps", len(self.betas or self.alpha_bars))
        if self.zero_terminal_snr and self.steps < 2:
            raise Refused("zero_terminal_snr needs a table of 2 steps or more")
        _ = self._knots

    def table(self) -> np.ndarray:
        alpha_bars = products(np.array(self.betas)) if self.betas else np.array(self.alpha_bars)
        if not self.zero_terminal_snr:
            return alpha_bars
        root = np.sqrt(alpha_bars)
        return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
