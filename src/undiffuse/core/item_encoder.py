"""What makes vectors of items, and of texts, that can be compared: such as a trained pair of encoders."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor


class ItemEncoder(ABC):
    """Unit vectors of items in the data's own units and of texts; near where they belong together."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """A text that differs where any weight does."""

    @property
    @abstractmethod
    def width(self) -> int:
        """How many numbers a vector has."""

    @property
    @abstractmethod
    def data_shape(self) -> tuple[int, ...]:
        """The shape of an item in the data's own units."""

    @abstractmethod
    def encode_image(self, x: Any) -> Tensor:
        """Unit vectors (n, width) of items x (n, *data_shape), of pictures also of other sizes.

        Raises Refused for items of another shape or dtype.
        """

    @abstractmethod
    def encode_text(self, texts: str | Sequence[str]) -> Tensor:
        """Unit vectors (n, width) of texts."""
