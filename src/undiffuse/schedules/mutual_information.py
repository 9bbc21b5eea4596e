"""D3PM's schedule by information: every step takes an equal share of what the tokens say of the data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import Mixing
from undiffuse.core.tabulated import check_steps, interpolate

AT_ONCE = 2**20  # numbers


@dataclass(frozen=True)
class MutualInformation(Mixing):
    """I(x_t; x_0)/H(x_0) = 1 - t at t = i/T, T = steps; between, alpha is a line. Of a mask it is `jsd`.

    frequencies: of the symbols in data, noise: the process's vector; both are given by the data and the process where
    these know them, else two symbols alike. alpha is found by bisection in float64.
    Source: arXiv:2107.03006, app. A.7. Raises Refused for vectors that are no probabilities of as many symbols.
    """

    steps: int = 1000
    frequencies: tuple[float, ...] = (0.5, 0.5)
    noise: tuple[float, ...] = (0.5, 0.5)

    def __post_init__(self) -> None:
        check_steps(self.steps)
        wrong = [v for v in (self.frequencies, self.noise) if abs(sum(v) - 1) > 1e-6 or min(v, default=-1) < 0]
        if wrong or len(self.frequencies) > len(self.noise) or max(self.frequencies) >= 1:
            raise Refused(
                "mutual_information needs frequencies of 2 symbols or more and a noise vector of no fewer, each "
                f"summing to 1; got {len(self.frequencies)} and {len(self.noise)} that sum to "
                f"{sum(self.frequencies):g} and {sum(self.noise):g}"
            )

    def for_tokens(self, frequencies: Sequence[float], noise: Sequence[float]) -> Self:
        """The schedule of these."""
        return replace(self, frequencies=tuple(frequencies), noise=tuple(noise))

    def alpha(self, t: Tensor) -> Tensor:
        return interpolate(self._knots, t)

    def sigma(self, t: Tensor) -> Tensor:
        return 1 - self.alpha(t)

    def information(self, alpha: np.ndarray) -> np.ndarray:
        """I(x_t; x_0) in nats where alpha is the chance to be kept, (n,) -> (n,)."""
        noise = np.asarray(self.noise)
        data = np.pad(np.asarray(self.frequencies), (0, len(noise) - len(self.frequencies)))
        found: list[np.ndarray] = []
        for a in np.array_split(alpha[:, None], max(1, -(-len(alpha) * len(noise) // AT_ONCE))):
            drawn = (1 - a) * noise
            own, other = _xlogx(a + drawn), _xlogx(drawn)
            known = (data * (own + other.sum(1, keepdims=True) - other)).sum(1)
            found.append(known - _xlogx(a * data + drawn).sum(1))
        return np.concatenate(found)

    @cached_property
    def _knots(self) -> Tensor:
        wanted = (1 - np.arange(1, self.steps) / self.steps) * self.information(np.ones(1))
        low, high = np.zeros(self.steps - 1), np.ones(self.steps - 1)
        for _ in range(52):
            middle = (low + high) / 2
            more = self.information(middle) > wanted
            low, high = np.where(more, low, middle), np.where(more, middle, high)
        return torch.tensor([1.0, *((low + high) / 2), 0.0], dtype=torch.float64)


def _xlogx(p: np.ndarray) -> np.ndarray:
    """p log p, and 0 at 0."""
    return p * np.log(np.where(p > 0, p, 1.0))
