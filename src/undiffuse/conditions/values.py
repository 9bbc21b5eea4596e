"""Values of a condition as tensors: one row an item, or one value for all."""

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused


class IndexedValues:
    """Values of which many are equal: each different one once, and which one each item has; x[indices] is (k, *shape).

    table: (different, *shape). which: (count,) rows of the table.
    """

    def __init__(self, table: Tensor, which: Tensor) -> None:
        self.table, self.which = table, which

    @property
    def shape(self) -> tuple[int, ...]:
        """(count, *shape of one)"""
        return (len(self.which), *self.table.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self.table.device

    def to(self, device: torch.device | str) -> "IndexedValues":
        """The same on a device."""
        return IndexedValues(self.table.to(device), self.which.to(device))

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return self.table[self.which[indices]]


Values = Tensor | IndexedValues  # (count, ...), indexed alike


def as_tensor(x: np.ndarray) -> Tensor:
    """The array as a tensor that can be indexed: unsigned 16-bit integers become 32-bit ones."""
    return torch.from_numpy(x.astype(np.int32) if x.dtype == np.uint16 else np.ascontiguousarray(x))


def expanded(values: Tensor, n: int, name: str) -> Tensor:
    """n values from one or n; raises Refused for another count."""
    refuse_count(len(values), n, name)
    return values.expand(n, *values.shape[1:])


def refuse_count(count: int, n: int, name: str) -> None:
    """Raises Refused unless there is one value, or one for each of n samples."""
    if count not in (1, n):
        raise Refused(f"{n} samples need one {name} or {n}, not {count}")
