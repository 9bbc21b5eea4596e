"""A prompt: a text that a frozen run, such as CLIP's text encoder, embeds."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.text_kind import TextKind
from undiffuse.core.errors import Refused
from undiffuse.core.text_encoder import TextEncoder
from undiffuse.progress import progress_bar

TOGETHER = 256


@dataclass(frozen=True)
class PromptCondition(TextKind):
    """A text as a run embeds it, which travels in the model's file; a longer one than that reads is refused.

    encoder: the run; in a recipe its folder, or one of diffusers. Of a run of kind clip the last row is the vector of
    the text, times sqrt(its length), behind those of its tokens. The null condition of a model that
    was read from such a folder is the prompt "". Source of such texts: arXiv:2112.10752, app. E.2.1.
    """

    encoder: TextEncoder | None = field(default=None, compare=False, metadata={"run": True})

    axes: ClassVar[tuple[int, ...]] = (2,)
    metavar: ClassVar[str] = "TEXT"
    help: ClassVar[str] = "A prompt, of a model that reads such."

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        return replace(self, shape=self._encoder.embedded_shape)

    def read(self, texts: Sequence[str]) -> Tensor:
        starts = progress_bar(range(0, len(texts), TOGETHER), desc="reading captions", delay=2, leave=False)
        return torch.cat([self._encoder.embed(texts[i : i + TOGETHER]).float() for i in starts])

    def summary(self) -> str:
        return f"a prompt, embedded as {' x '.join(map(str, self.shape))} numbers"

    @property
    def reader(self) -> str:
        return self._encoder.digest

    @property
    def space(self) -> str:
        return self._encoder.space

    @property
    def _encoder(self) -> TextEncoder:
        if self.encoder is None:
            raise Refused('a prompt is embedded by a run: conditions.NAME.encoder = "FOLDER"')
        return self.encoder
