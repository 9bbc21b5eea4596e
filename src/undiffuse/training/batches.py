"""Which samples a step sees: computed from the step alone, so that a resumed run sees what it would have seen."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import Codec
from undiffuse.core.random import Random

ORDER, FLIP, DROP = 0, 1, 2  # independent streams of one seed


@dataclass(frozen=True, eq=False)
class Batches:
    """A data set in memory, dealt out in batches: every epoch is a fresh permutation, and a batch may span two epochs.

    x: (count, *shape) in the data's dtype; conditions: (count, ...) each. size: samples a step.
    drop: the chance that a sample's conditions are hidden (the mask `drop`, left out if 0). flip: mirror left to right
    with chance 1/2.
    """

    x: Tensor
    conditions: Mapping[str, Tensor]
    codec: Codec
    size: int
    random: Random
    drop: float = 0.0
    flip: bool = False

    @classmethod
    def of(
        cls, x: np.ndarray, conditions: Mapping[str, np.ndarray], codec: Codec, size: int, seed: int, **options: float
    ) -> Self:
        """Batches of arrays."""
        given = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in conditions.items()}
        return cls(tensor(x), given, codec, size, Random(seed), **options)  # pyright: ignore[reportArgumentType]

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Self:
        """The same with the data on a device."""
        return replace(
            self, x=self.x.to(device), conditions={name: values.to(device) for name, values in self.conditions.items()}
        )

    def indices(self, step: int) -> Tensor:
        """The samples of step 0, 1 ...: positions step * size ... in the endless sequence of permutations; (size,)."""
        first, last = step * self.size, (step + 1) * self.size
        epochs = range(first // len(self), (last - 1) // len(self) + 1)
        dealt = torch.cat([_permutation(self.random.fold(ORDER).seed, epoch, len(self)) for epoch in epochs])
        offset = first - epochs.start * len(self)
        return dealt[offset : offset + self.size]

    def at(self, step: int, rows: slice = slice(None)) -> tuple[Tensor, dict[str, Tensor]]:
        """The batch of step 0, 1 ..., encoded, with its conditions; rows: the part that this process trains on."""
        which = self.indices(step)[rows].to(self.x.device)
        slots = torch.arange(self.size)[rows]
        x = self.x[which]
        if self.flip:
            mirrored = self.random.fold(FLIP, step).at(slots).integers(2, (len(slots),), device=x.device) == 1
            x = torch.where(mirrored.reshape(-1, *(1,) * (x.ndim - 1)), x.flip(-1), x)
        return self.codec.encode(x), self._told(which, step, slots)

    def _told(self, which: Tensor, step: int, slots: Tensor) -> dict[str, Tensor]:
        told = {name: values[which] for name, values in self.conditions.items()}
        if told and self.drop:
            told["drop"] = (
                self.random.fold(DROP, step).at(slots).uniform((len(slots),), device=which.device) < self.drop
            )
        return told


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> Tensor:
    return Random(seed).fold(epoch).permutation(count)(torch.arange(count))


def tensor(x: np.ndarray) -> Tensor:
    """The array as a tensor that can be indexed: unsigned 16-bit integers become 32-bit ones."""
    return torch.from_numpy(x.astype(np.int32) if x.dtype == np.uint16 else np.ascontiguousarray(x))
