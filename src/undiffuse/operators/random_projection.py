"""Random projection: a few random directions of a sample."""

from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.operator import Operator
from undiffuse.core.random import Random


@dataclass(frozen=True)
class RandomProjection(Operator):
    """`count` random projections of a sample, orthonormal, the same for every sample: (batch, count)."""

    count: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise Refused(f"a random projection needs a count of 1 or more, not {self.count}")

    def __call__(self, x: Tensor) -> Tensor:
        size = x[0].numel()
        if self.count > size:
            raise Refused(f"a sample has {size} elements, which is fewer than {self.count} projections")
        rows = Random(self.seed).normal((size, self.count), dtype=torch.float64)
        basis: Tensor = torch.linalg.qr(rows)[0]  # pyright: ignore[reportUnknownMemberType]
        return x.flatten(1) @ basis.to(x)
