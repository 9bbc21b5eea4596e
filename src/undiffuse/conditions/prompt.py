"""A prompt: a text that a frozen run, such as CLIP's text encoder, embeds."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.condition_kind import ConditionKind, Form
from undiffuse.conditions.values import IndexedValues, expanded, refuse_count
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.text_encoder import TextEncoder
from undiffuse.progress import progress_bar

TOGETHER = 256


@dataclass(frozen=True)
class PromptCondition(ConditionKind):
    """A text as a run embeds it, which travels in the model's file; a longer one than that reads is refused.

    encoder: the run; in a recipe its folder, or one of diffusers. Of a run of kind clip the last row is the vector of
    the text, times sqrt(its length), behind those of its tokens. The null condition of a model that
    was read from such a folder is the prompt "". Source of such texts: arXiv:2112.10752, app. E.2.1.
    """

    encoder: TextEncoder | None = field(default=None, compare=False, metadata={"run": True})

    form: ClassVar[Form] = "text"
    axes: ClassVar[tuple[int, ...]] = (2,)
    needs: ClassVar[str] = "texts"
    says: ClassVar[bool] = True
    metavar: ClassVar[str] = "TEXT"
    help: ClassVar[str] = "A prompt, of a model that reads such."

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim == 1 and values.dtype.kind == "U"

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        return replace(self, shape=self._encoder.embedded_shape)

    def encode(self, values: np.ndarray) -> IndexedValues:
        """Each different text is embedded once, however many items have it."""
        different, which = np.unique(np.asarray(values), return_inverse=True)
        starts = progress_bar(range(0, len(different), TOGETHER), desc="reading captions", delay=2, leave=False)
        parts = [self._encoder.embed([str(text) for text in different[i : i + TOGETHER]]).float() for i in starts]
        return IndexedValues(torch.cat(parts), torch.from_numpy(which.reshape(-1)))

    def given(self, value: Any, n: int, name: str) -> Tensor:
        texts = [arguments.text(text, name) for text in _each(value)]
        refuse_count(len(texts), n, name)
        return expanded(self._encoder.embed(texts), n, name)

    def from_word(self, word: str, name: str) -> Any:
        return word

    def summary(self) -> str:
        return f"a prompt, embedded as {' x '.join(map(str, self.shape))} numbers"

    def captions(self, value: Any) -> tuple[str, ...]:
        return tuple(map(str, _each(value)))

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


def _each(value: Any) -> list[Any]:
    values = value.tolist() if isinstance(value, np.ndarray) else value
    return [values] if isinstance(values, str) or not isinstance(values, Sequence) else list(values)
