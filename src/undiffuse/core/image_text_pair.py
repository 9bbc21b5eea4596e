"""What brings items and texts together: an encoder of each, whose unit vectors are near where they belong together."""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.item_predictor import ItemPredictor
from undiffuse.core.text_reader import TextReader

FIRST, LARGEST = 1 / 0.07, 100.0  # of the scale of similarities


class ImageTextPair(nn.Module):
    """logits[i, j] = scale <image(x_i), text(y_j)>, both of unit length; scale = exp(log_scale), at most 100.

    items: gives numbers (batch, n) of clean or noisy items, as an `ItemPredictor`; a linear layer brings them to the
    width of the space. texts: reads what networks get of a text, (batch, length ...), gives (batch, width).
    Source: arXiv:2103.00020, fig. 3 and sec. 2.5 (temperature).
    """

    def __init__(self, items: ItemPredictor, texts: TextReader, outputs: int, width: int) -> None:
        super().__init__()
        self.items, self.texts = items, texts
        self.project = nn.Linear(outputs, width)
        self.log_scale = nn.Parameter(torch.tensor(math.log(FIRST), dtype=torch.float32))

    @property
    def process(self) -> Any:
        """The process whose noisy items it reads."""
        return self.items.process

    @property
    def symbols(self) -> None:
        """None, for values have none."""
        return None

    @property
    def scale(self) -> Tensor:
        """How much a similarity counts."""
        return self.log_scale.exp().clamp(max=LARGEST)

    def embed_items(self, x_t: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """Unit vectors (batch, width) of encoded items, x_t (batch, *shape) at the time t, () or (batch,)."""
        found = self.items(x_t, t)
        projected = self.project(found.to(self.project.weight.dtype))
        return F.normalize(projected.to(found.dtype), dim=1)

    def embed_texts(self, text: Tensor) -> Tensor:
        """Unit vectors (batch, width) of texts as networks get them."""
        return self._unit(self.texts(text))

    def embed_tokens(self, text: Tensor) -> Tensor:
        """Texts as conditions, (batch, length + 1, the wider of both): the vector of each token, zeros where there is
        none, and in the last row the text's unit vector times sqrt(width).
        """
        tokens, there = self.texts.tokens(text)
        unit = self._unit(self.texts.pooled(tokens, there))
        parts = [tokens * there.unsqueeze(2), (unit * math.sqrt(unit.shape[1])).unsqueeze(1).to(tokens.dtype)]
        wide = max(part.shape[2] for part in parts)
        return torch.cat([F.pad(part, (0, wide - part.shape[2])) for part in parts], dim=1)

    def _unit(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors.to(torch.promote_types(self.log_scale.dtype, torch.float32)), dim=1)

    def logits(self, x_t: Tensor, t: Tensor | float, text: Tensor) -> Tensor:
        """How well each item and each text go together, (items, texts)."""
        return self.scale * self.embed_items(x_t, t) @ self.embed_texts(text).mT

    def forward(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tensor:
        """How well each item and its own text go together, scale <image, text>, (batch,): what guidance climbs.

        cond: the one text; `drop` is of no account. Raises Refused without it.
        """
        texts = cast("list[Tensor]", [value for name, value in cond.items() if name != "drop"])
        if len(texts) != 1:
            raise Refused(f"a pair of encoders reads one text beside an item, not {len(texts)}")
        return self.scale * (self.embed_items(x_t, t) * self.embed_texts(texts[0])).sum(1)
