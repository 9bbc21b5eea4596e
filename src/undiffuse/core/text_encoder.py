"""What turns texts into the embeddings that a network reads."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor


class TextEncoder(ABC):
    """A frozen encoder of texts, such as CLIP's; a run is one, see `models.text_encoder`."""

    @property
    @abstractmethod
    def embedded_shape(self) -> tuple[int, int]:
        """The shape of an embedded text: (length, width)."""

    @property
    def space(self) -> str:
        """What tells the space in which the last row of an embedded text is the vector of the text, near those of the
        items that it describes: the digest of the pair of encoders; "": there is no such row.
        """
        return ""

    @property
    @abstractmethod
    def digest(self) -> str:
        """A text that differs where any weight does."""

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> Tensor:
        """The embeddings of texts, (count, length, width), on the CPU.

        Raises Refused, with the count, for a text of more tokens than the length.
        """
