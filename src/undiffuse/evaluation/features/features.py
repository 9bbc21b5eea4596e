"""What every kind of features offers: items in, one vector an item out, and an account of how they were made."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np


class Features(ABC):
    """Maps items in the data's own units, (count, *shape), to float32 vectors (count, dimensions).

    fitted: whatever `fit` has learnt, as arrays that can be kept in a file; empty before. natural: others publish
    distances in the vectors' own scale, so that nothing may rescale them. learns: `fit` follows the single items that
    it is given, so that these look unlike all others afterwards and may not be compared with them.
    """

    fitted: Mapping[str, np.ndarray]
    natural: ClassVar[bool]
    learns: ClassVar[bool]

    @property
    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What they are, in JSON's types: name, version, size and filter of a resize; all that changes the numbers."""

    @abstractmethod
    def limited(self, count: int) -> Self:
        """As many of the features as `count` items a side can bear."""

    @abstractmethod
    def fit(self, x: np.ndarray) -> Self:
        """A copy that has learnt what it needs from training items x; raises Refused for items that it cannot see."""

    @abstractmethod
    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The vectors of the items x, float32 (count, dimensions)."""

    @abstractmethod
    def probabilities(self, vectors: np.ndarray) -> np.ndarray | None:
        """What the network behind the features takes the items for, (count, classes); None where that is no metric."""
