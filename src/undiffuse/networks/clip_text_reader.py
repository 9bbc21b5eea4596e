"""CLIP's reader of texts: numbers of its tokens -> the vector of the token that ends a text, by a linear layer."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.text_reader import TextReader
from undiffuse.networks.text_encoders import ClipText


class ClipTextReader(TextReader):
    """Numbers of tokens (batch, length) -> (batch, width).

    shape: (length,), given by the data. vocabulary: how many tokens there are. width: of the vectors; inside: of those
    of the tokens, and of the layers. hidden: the width inside of a layer. end: the number of the token that ends a
    text; what stands behind the first one is padding. Source: arXiv:2103.00020, sec. 2.4.
    """

    half_pays: ClassVar[bool] = True

    def __init__(
        self,
        shape: tuple[int, ...] = (77,),
        vocabulary: int = 49408,
        width: int = 512,
        inside: int = 512,
        hidden: int = 2048,
        depth: int = 12,
        heads: int = 8,
        activation: str = "quick_gelu",
        eps: float = 1e-5,
        end: int = 49407,
    ) -> None:
        super().__init__()
        self.width, self.inside, self.end = width, inside, end
        self.reader = ClipText(vocabulary, shape[0], inside, hidden, depth, heads, activation, eps)
        self.leave = nn.Linear(inside, width, bias=False)

    def tokens(self, text: Tensor) -> tuple[Tensor, Tensor]:
        ends = (text == self.end).long().cumsum(1)  # 0 before the first end, and 1 at it
        return self.reader(text.long()), (ends - (text == self.end).long()) == 0

    def pooled(self, tokens: Tensor, there: Tensor) -> Tensor:
        last = there.sum(1) - 1
        return self.leave(tokens[torch.arange(len(tokens), device=tokens.device), last])
