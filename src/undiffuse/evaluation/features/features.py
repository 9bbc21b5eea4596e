"""The interface of features: one vector for each item, and a description of how it was computed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from undiffuse.core.item_encoder import ItemEncoder


class Features(ABC):
    """Maps items in the data's own units, (count, *shape), to float32 vectors (count, dimensions).

    fitted: what `fit` has learned, as arrays that can be stored in a file; empty before `fit`. natural: published
    distances use the vectors' own scale, so they must not be rescaled. learns: `fit` depends on the individual items
    that it is given, so these must not be compared with other items afterwards. by_place: vectors tell items of the
    same parts in another order apart. encoder: the run whose vectors they are, which reads texts as well; None: there
    is none.
    """

    encoder: ItemEncoder | None = None

    fitted: Mapping[str, np.ndarray]
    natural: ClassVar[bool] = False
    learns: ClassVar[bool] = False
    by_place: ClassVar[bool] = False

    @property
    @abstractmethod
    def about(self) -> dict[str, Any]:
        """All that changes the numbers, in JSON's types: name, version, size and filter of a resize."""

    @abstractmethod
    def fit(self, x: np.ndarray) -> Self:
        """A copy fitted to the training items x; raises Refused for items that the features do not accept."""

    @abstractmethod
    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The vectors of the items x, float32 (count, dimensions)."""

    def limited(self, count: int) -> Self:
        """The features, with no more dimensions than `count` items on each side can support."""
        return self

    def probabilities(self, vectors: np.ndarray) -> np.ndarray | None:
        """The class probabilities of the items, (count, classes); None where the features have no classes."""
        return None
