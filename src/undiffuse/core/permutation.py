"""A permutation as a function of the place: a few kilobytes, however many items it shuffles."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ROUNDS = 4  # of two steps each


def sides(n: int) -> tuple[int, int]:
    """Rows and columns of the smallest rectangle, about a square, with n places."""
    rows = math.isqrt(max(n, 1) - 1) + 1
    return rows, -(-n // rows)


@dataclass(frozen=True, eq=False)
class Permutation:
    """A bijection of 0 ... n-1 laid out in a rectangle: rows and columns are shifted in turn by random amounts,

    row += f_r(column) mod rows,  column += g_r(row) mod columns,  with a new f_r and g_r in every round.

    f: (ROUNDS, columns) numbers below the rows; g: (ROUNDS, rows) numbers below the columns. A place that lands beyond
    n - 1 is sent on until it lands inside, which keeps the map one to one. Source: a Feistel network with random
    functions, Luby and Rackoff 1988, doi:10.1137/0217022.
    """

    n: int
    f: np.ndarray
    g: np.ndarray

    def __call__(self, places: Tensor) -> Tensor:
        """Which item lies at each of the places (count,), both int64 and in 0 ... n-1."""
        items = self._shift(places.numpy())
        while (beyond := items >= self.n).any():
            items[beyond] = self._shift(items[beyond])
        return torch.as_tensor(items)

    def _shift(self, places: np.ndarray) -> np.ndarray:
        rows, columns = self.g.shape[1], self.f.shape[1]
        row, column = places // columns, places % columns
        for f, g in zip(self.f, self.g, strict=True):
            row = (row + f[column]) % rows
            column = (column + g[row]) % columns
        return row * columns + column
