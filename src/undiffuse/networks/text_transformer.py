"""A reader of texts: bytes or another encoder's embeddings -> one vector, by a transformer and the mean over places."""

from typing import ClassVar

from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.text_reader import TextReader
from undiffuse.networks.reading import Bytes, EncodedCaption, Layer


class TextTransformer(TextReader):
    """Bytes (batch, length), or embeddings (batch, length, d), zeros behind the end -> (batch, width).

    shape: of one text as networks get it, given by the data.  width: of the vectors, and of the layers.  depth: layers
    of self-attention. dropout: of the mean over places that a text has, before the last linear layer.
    Raises Refused for sizes below 1.
    """

    half_pays: ClassVar[bool] = True

    def __init__(self, shape: tuple[int, ...] = (64,), width: int = 128, depth: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        for name, value in {"width": width, "depth": depth + 1, f"shape {shape}": min(shape, default=1)}.items():
            if value < 1:
                raise Refused(f"{name} = {value}: a text transformer needs at least 1")
        self.width = self.inside = width
        self.enter = Bytes(shape[0], width, 0) if len(shape) == 1 else EncodedCaption(shape[1], width)
        self.layers = nn.ModuleList([Layer(width) for _ in range(depth)])
        self.norm, self.dropout, self.leave = nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, width)

    def tokens(self, text: Tensor) -> tuple[Tensor, Tensor]:
        x, there = self.enter(text)
        for layer in self.layers:
            x = layer(x, there)
        return self.norm(x), there

    def pooled(self, tokens: Tensor, there: Tensor) -> Tensor:
        shown = there.unsqueeze(2)
        return self.leave(self.dropout((tokens * shown).sum(1) / shown.sum(1).clamp(min=1)))
