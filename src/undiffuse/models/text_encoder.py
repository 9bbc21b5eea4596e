"""A text encoder: turns texts into the embeddings that a model of pictures reads; CLIP's, read from a folder."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.codecs.clip_tokenizer import ClipTokenizer
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.single_precision import in_float32
from undiffuse.core.text_encoder import TextEncoder
from undiffuse.networks.text_encoders import ClipText
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.run import Run
from undiffuse.sampling.stored_plan import digest

TOGETHER = 64  # texts that are embedded at once


class TextEncoderRun(Run, TextEncoder):
    """CLIP's text encoder with its tokenizer, which conditions of kind `prompt` name; it is read, and not trained.

    Fields: see `Run`; shape: (length,), the tokens of a text. Source: arXiv:2103.00020, sec. 2.4.
    """

    tables: ClassVar[Mapping[str, bool]] = {"codec": True, "encoder": True}
    made: ClassVar[str] = "encoder"
    reads: ClassVar[str] = "embeddings"
    what: ClassVar[str] = "a text encoder"
    use: ClassVar[str] = 'name it in a recipe: [conditions.text] kind = "prompt", encoder = "{path}"'
    rounds: ClassVar[bool] = False

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        raise Refused("a text encoder is read from a folder, by `undiffuse import`, and not trained here")

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        own = registry.check(ClipText, about.recipe["encoder"], owner="encoder")
        with in_float32():
            return ClipText(**{**own, "vocabulary": about.codec.vocabulary, "length": about.shape[0]})

    @property
    def tokenizer(self) -> ClipTokenizer:
        """What makes tokens of texts."""
        codec: Any = self.codec
        return ClipTokenizer.read(codec.tokenizer)

    @property
    def embedded_shape(self) -> tuple[int, int]:
        return self.shape[0], self.module.width

    @property
    def digest(self) -> str:
        return digest(self.module)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        numbers = torch.tensor([self.tokenizer.padded(text, self.shape[0]) for text in texts], dtype=torch.int64)
        return torch.cat([self.module(part.to(self.device)).cpu() for part in numbers.split(TOGETHER)])

    def attempt(self) -> None:
        self.embed([""])

    def evaluate(self, asked: EvaluationRequest) -> Any:
        raise Refused("a text encoder is judged by the pictures of a model that reads it: evaluate that run")

    def about(self) -> dict[str, str]:
        length, width = self.embedded_shape
        return {"embeds": f"texts of up to {length - 2} tokens as {length} x {width} numbers"}
