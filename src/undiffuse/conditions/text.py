"""A text: a caption, encoded as bytes, as CLIP's tokens, or as the embeddings of another encoder."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.clip_tokenizer import ClipTokenizer
from undiffuse.conditions.text_encoder import BYTES, encode, state
from undiffuse.conditions.text_kind import TextKind
from undiffuse.core.errors import Refused

LONGEST = 4096  # tokens of a caption
CLIP = "clip"


@dataclass(frozen=True)
class TextCondition(TextKind):
    """A caption, which networks read by cross-attention.

    encoder: "bytes", a small one that is trained along; "minilm"; or the folder or name of a Hugging Face model.
    length: at most so many bytes or tokens; what is longer is cut off. tokenizer: of a run that was read from a CLIP of
    transformers: the JSON of its tokenizer, see `ClipTokenizer`; encoder is "clip" then, and longer texts are refused.
    """

    encoder: str = "bytes"
    length: int = 64
    tokenizer: str = field(default="", metadata={"from_data": True})

    axes: ClassVar[tuple[int, ...]] = (1, 2)
    metavar: ClassVar[str] = "TEXT"
    help: ClassVar[str] = "A caption, of a model that takes texts."

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.length <= LONGEST:
            raise Refused(f"length is the most tokens of a caption: from 1 to {LONGEST}, not {self.length}")

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        if self.encoder == CLIP:
            raise Refused(
                "encoder = 'clip' is of a pair of encoders that was imported, with its tokenizer: it is not trained "
                "here; train another with encoder = 'bytes' or 'minilm'"
            )
        return replace(self, shape=tuple(self.encode(values[:1]).shape[1:]))

    def read(self, texts: Sequence[str]) -> Tensor:
        if not self.tokenizer:
            return encode(texts, self.encoder, self.length)
        made = ClipTokenizer.read(self.tokenizer)
        return torch.tensor([made.padded(text, self.length) for text in texts], dtype=torch.int64)

    @property
    def reader(self) -> str:
        return "" if self.tokenizer or self.encoder == BYTES else f"{state(self.encoder)} {self.length}"

    def summary(self) -> str:
        return f"a text of up to {self.length} tokens, read by {self.encoder}"
