"""What reads texts: a network that gives a vector of each token, and one of the whole text."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from undiffuse.core.network import Network


class TextReader(Network, ABC):
    """Texts as networks get them, (batch, length ...) -> a vector of each text, (batch, width).

    width: of the vectors. inside: of those of the tokens.
    """

    predicts: ClassVar[str] = "text"
    reads_time = False

    width: int
    inside: int

    @abstractmethod
    def tokens(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """A vector of each token, (batch, length, inside), and booleans (batch, length), where there is one."""

    @abstractmethod
    def pooled(self, tokens: Tensor, there: Tensor) -> Tensor:
        """The vectors (batch, width) of texts by those of their tokens."""

    def forward(self, text: Tensor) -> Tensor:
        return self.pooled(*self.tokens(text))
