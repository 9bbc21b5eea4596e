"""A permutation as a function of the place: a few kilobytes, however many items it shuffles."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ROUNDS = 8


def halves(n: int) -> int:
    """Bits of half a place: the smallest h with 4^h >= n."""
    return (max(n - 1, 1).bit_length() + 1) // 2


@dataclass(frozen=True, eq=False)
class Permutation:
    """A bijection of 0 ... n-1:  (left, right) -> (right, left xor f_r(right)), a round for each table f_r.

    tables: (ROUNDS, 2^h) random numbers below 2^h. A place has 2h bits; one that lands beyond n - 1 is sent on until it
    lands inside, which keeps the map one to one. Source: Luby and Rackoff 1988, doi:10.1137/0217022.
    """

    n: int
    tables: np.ndarray

    def __call__(self, places: Tensor) -> Tensor:
        """Which item lies at each of the places (count,), both int64 and in 0 ... n-1."""
        items = self._round_trip(places.numpy())
        while (beyond := items >= self.n).any():
            items[beyond] = self._round_trip(items[beyond])
        return torch.as_tensor(items)

    def _round_trip(self, places: np.ndarray) -> np.ndarray:
        half = halves(self.n)
        left, right = places >> half, places & (1 << half) - 1
        for table in self.tables:
            left, right = right, left ^ table[right]
        return left << half | right
