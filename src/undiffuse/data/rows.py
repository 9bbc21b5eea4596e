"""Some rows of an array that stays where it is, mostly on the disk: what is asked for is read, nothing else."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike


class MappedRows:
    """Rows `indices` of an array (usually memory-mapped), in the dtype of that name; each access reads and copies.

    rows[3], rows[10:20], rows[[4, 1]] and rows[mask] are arrays of (..., *shape); np.asarray(rows) reads everything.
    """

    def __init__(self, array: np.ndarray, indices: np.ndarray | None = None, dtype: DTypeLike | None = None) -> None:
        self.array = array
        self.indices = np.arange(len(array)) if indices is None else np.asarray(indices)
        self.dtype = np.dtype(array.dtype if dtype is None else dtype).newbyteorder("=")

    @property
    def shape(self) -> tuple[int, ...]:
        """(count, *shape of one item)"""
        return (len(self.indices), *self.array.shape[1:])

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """What all of it would take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, which: Any) -> np.ndarray:
        rows = self.indices[which]
        if np.ndim(rows) == 1 and len(rows) > 1 and (np.diff(rows) == 1).all():
            rows = slice(int(rows[0]), int(rows[-1]) + 1)  # neighbours are read together
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which a Dataset refuses
            return np.array(self.array[rows], dtype=self.dtype, order="C")

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("rows that lie on the disk cannot become an array without a copy")
        return self[:] if dtype is None else self[:].astype(dtype)

    def __repr__(self) -> str:
        return f"MappedRows({len(self)} of shape {self.shape[1:]}, {self.dtype})"

    def take(self, indices: np.ndarray) -> "MappedRows":
        """The rows at these indices, or where this mask is true; nothing is read."""
        return MappedRows(self.array, self.indices[indices], self.dtype)


Items = np.ndarray | MappedRows  # (count, *shape)
LARGE = 2**26  # bytes; of a larger array in memory no part is copied


def mapped(x: Items) -> bool:
    """Whether the items lie on the disk."""
    return isinstance(x, np.memmap) or (isinstance(x, MappedRows) and mapped(x.array))


def taken(x: Items, indices: np.ndarray) -> Items:
    """The items at these indices (or where this mask is true); mapped ones, and those of a large array, are not
    copied.
    """
    if isinstance(x, MappedRows):
        return x.take(indices)
    return MappedRows(x).take(indices) if mapped(x) or x.nbytes > LARGE else x[indices]


def chunk(x: Items, budget: int = 2**24) -> int:
    """How many items, at least one, fit into so many bytes."""
    return max(1, budget * len(x) // max(1, x.nbytes))
