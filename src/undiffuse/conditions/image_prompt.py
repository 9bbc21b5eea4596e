"""A picture that a frozen run, such as CLIP's encoder of images, embeds for attention: the prompt of a variation."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.condition_kind import ConditionKind, Derive, Form
from undiffuse.conditions.picture_file import picture
from undiffuse.conditions.values import expanded
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.image_encoder import ImageEncoder


@dataclass(frozen=True)
class ImagePromptCondition(ConditionKind):
    """What a picture shows, as a run embeds it, which travels in the model's file; in training each item's own picture.

    encoder: the run of kind image_encoder; in a recipe its folder, or that of a CLIPVisionModelWithProjection. The null
    condition is zeros.
    """

    encoder: ImageEncoder | None = field(default=None, compare=False, metadata={"run": True})

    form: ClassVar[Form] = "text"
    axes: ClassVar[tuple[int, ...]] = (2,)
    needs: ClassVar[str] = "(count, length, width)"
    metavar: ClassVar[str] = "FILE"
    help: ClassVar[str] = "A picture to vary, of a model that reads such."

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim == 3 and values.dtype.kind == "f"

    def encode(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(values, dtype=np.float32))

    def given(self, value: Any, n: int, name: str) -> Tensor:
        found = arguments.array(value, name)
        if found.ndim < 4 and found.shape[-2:] == self.shape:
            return expanded(self.encode(found.reshape(-1, *self.shape)), n, name)
        shape = self._encoder.data_shape
        if found.ndim not in (len(shape), len(shape) + 1) or found.shape[-len(shape)] != shape[0]:
            raise Refused(
                f"{name} is a picture of {shape[0]} channels, (channels, height, width), or its embedding of shape "
                f"{self.shape}; given is an array of shape {found.shape}"
            )
        pictures = found[None] if found.ndim == len(shape) else found
        return expanded(self._encoder.embed_images(pictures).float(), n, name)

    def from_word(self, word: str, name: str) -> Any:
        return picture(word, name, self._encoder.data_shape)

    def summary(self) -> str:
        return f"a picture, embedded as {' x '.join(map(str, self.shape))} numbers"

    def derivation(self, name: str) -> Derive | None:
        return partial(_derived, self._encoder)

    @property
    def stamp(self) -> str:
        return self._encoder.digest

    @property
    def _encoder(self) -> ImageEncoder:
        if self.encoder is None:
            raise Refused('a picture is embedded by a run: conditions.NAME.encoder = "FOLDER"')
        return self.encoder


def _derived(encoder: ImageEncoder, x: Any, white: float, missing: Any = None) -> np.ndarray:
    return encoder.embed_images(np.asarray(x[:])).float().numpy()
