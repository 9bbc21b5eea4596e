"""Nearest neighbours by brute force, a bounded block of distances at a time."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

BLOCK = 2**24  # distances held at once


def nearest(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of x the distance to the nearest row of y, and which row that is; (count,) each.

    The search runs in x's dtype; its final distance is computed from the difference, so that a copy has exactly 0.
    """
    index = np.concatenate([block.argmin(1).numpy() for _, block in _blocks(torch.from_numpy(x), torch.from_numpy(y))])
    rows = range(0, len(x), 1024)
    distance = [np.linalg.norm(x[i : i + 1024].astype(np.float64) - y[index[i : i + 1024]], axis=1) for i in rows]
    return np.concatenate(distance), index


def radii(x: np.ndarray, neighbour: int) -> np.ndarray:
    """The squared distance from each row of x to its `neighbour`-th nearest other row, (count,)."""
    found = []
    for start, block in _blocks(torch.from_numpy(x), torch.from_numpy(x)):
        block[torch.arange(len(block)), start + torch.arange(len(block))] = torch.inf
        found.append(block.topk(neighbour, largest=False).values[:, -1].clamp(min=0).numpy())
    return np.concatenate(found)


def covered(x: np.ndarray, centres: np.ndarray, squared_radii: np.ndarray) -> np.ndarray:
    """Whether each row of x lies in a ball around any of the centres, (count,); rounding errors count as inside."""
    limits = _limits(x, centres, squared_radii)
    return np.concatenate(
        [(block <= limits).any(1).numpy() for _, block in _blocks(torch.from_numpy(x), torch.from_numpy(centres))]
    )


def inside(x: np.ndarray, centres: np.ndarray, squared_radii: np.ndarray) -> np.ndarray:
    """How many rows of x lie in the ball around each centre, (count of centres,); rounding errors count as inside."""
    limits = _limits(x, centres, squared_radii)
    held = torch.zeros(len(centres), dtype=torch.int64)
    for _, block in _blocks(torch.from_numpy(x), torch.from_numpy(centres)):
        held += (block <= limits).sum(0)
    return held.numpy()


def _limits(x: np.ndarray, centres: np.ndarray, squared_radii: np.ndarray) -> Tensor:
    """The squared radii and what rounding may add to a squared distance, which grows with the centre's own length."""
    lengths = ((centres - _middle(centres)) ** 2).sum(1)
    return torch.from_numpy(squared_radii + 64 * float(np.finfo(x.dtype).eps) * lengths)


def _middle(y: np.ndarray) -> np.ndarray:
    return y.mean(0, dtype=np.float64).astype(y.dtype)


def _blocks(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Squared distances of successive rows of x to all of y: (first row, (rows, count of y)).

    |x - y|^2 = |x|^2 + |y|^2 - 2 x y, measured from the middle of y, so that a common offset costs no digits.
    """
    middle = torch.from_numpy(_middle(y.numpy()))
    y = y - middle
    lengths = (y**2).sum(1)
    rows = max(1, BLOCK // len(y))
    for start in range(0, len(x), rows):
        part = x[start : start + rows] - middle
        yield start, torch.addmm(lengths, part, y.T, alpha=-2).add_((part**2).sum(1, keepdim=True))
