"""What turns pictures into the embeddings that a network reads, as it reads texts."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor


class ImageEncoder(ABC):
    """A frozen encoder of pictures, such as CLIP's; a run is one, see `models.image_encoder`."""

    @property
    @abstractmethod
    def data_shape(self) -> tuple[int, ...]:
        """The shape of a picture in the data's own units."""

    @property
    @abstractmethod
    def embedded_shape(self) -> tuple[int, int]:
        """The shape of an embedded picture: (length, width)."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """A text that differs where any weight does."""

    @abstractmethod
    def embed_images(self, x: Any) -> Tensor:
        """The embeddings (count, length, width) of pictures x (count, channels, ...) of any size, on the CPU.

        Raises Refused for pictures with other channels.
        """
