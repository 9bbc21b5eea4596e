"""A text encoder: turns texts into the embeddings that a model of pictures reads; CLIP's, read from a folder."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.codecs.clip_tokenizer import ClipTokenizer
from undiffuse.core.text_encoder import TextEncoder
from undiffuse.models.encoder_kind import EncoderKind
from undiffuse.networks.text_encoders import ClipText
from undiffuse.recipes.description import Description

TOGETHER = 64  # texts that are embedded at once


class TextEncoderRun(EncoderKind, TextEncoder):
    """CLIP's text encoder with its tokenizer, which conditions of kind `prompt` name; it is read, and not trained.

    Fields: see `Run`; shape: (length,), the tokens of a text. Source: arXiv:2103.00020, sec. 2.4.
    """

    what: ClassVar[str] = "a text encoder"
    use: ClassVar[str] = 'name it in a recipe: [conditions.text] kind = "prompt", encoder = "{path}"'
    network: ClassVar[type[nn.Module]] = ClipText

    @classmethod
    def known(cls, about: Description) -> dict[str, Any]:
        return {"vocabulary": about.codec.vocabulary, "length": about.shape[0]}

    @property
    def tokenizer(self) -> ClipTokenizer:
        """What makes tokens of texts."""
        codec: Any = self.codec
        return ClipTokenizer.read(codec.tokenizer)

    @property
    def embedded_shape(self) -> tuple[int, int]:
        return self.shape[0], self.module.width

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        numbers = torch.tensor([self.tokenizer.padded(text, self.shape[0]) for text in texts], dtype=torch.int64)
        return torch.cat([self.module(part.to(self.device)).cpu() for part in numbers.split(TOGETHER)])

    def attempt(self) -> None:
        self.embed([""])

    def about(self) -> dict[str, str]:
        length, width = self.embedded_shape
        return {"embeds": f"texts of up to {length - 2} tokens as {length} x {width} numbers"}
