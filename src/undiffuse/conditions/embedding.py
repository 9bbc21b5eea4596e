"""An embedding of the item itself, by a trained pair of encoders: what a picture shows, in one vector."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.conditions.condition_kind import ConditionKind, Derive, Form
from undiffuse.conditions.picture_file import picture
from undiffuse.conditions.values import expanded
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.item_encoder import ItemEncoder

MOST = 64  # tokens


@dataclass(frozen=True)
class EmbeddingCondition(ConditionKind):
    """sqrt(d) u, u the unit vector (d,) that a pair of encoders gives of the item; networks read it as so many tokens,
    whose mean also goes to the features, where the time goes.

    encoder: the run of kind clip, which travels in the model's file; in a recipe its folder. A person gives a picture,
    whose vector is taken, or the vector, of any length. Source: arXiv:2204.06125, sec. 2.1 (four tokens).
    Raises Refused for fewer tokens than 1.
    """

    encoder: ItemEncoder | None = field(default=None, compare=False, metadata={"run": True})
    tokens: int = 4

    form: ClassVar[Form] = "embedding"
    axes: ClassVar[tuple[int, ...]] = (1,)
    items: ClassVar[tuple[int, ...]] = (1, 2, 3, 4)
    needs: ClassVar[str] = "(count, d)"
    metavar: ClassVar[str] = "FILE"
    help: ClassVar[str] = "A picture, or a vector (.npy), of a model that is told what to show by one."

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.tokens <= MOST:
            raise Refused(f"tokens is how many an embedding is read as: from 1 to {MOST}, not {self.tokens}")

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim == 2 and values.dtype.kind == "f"

    def encode(self, values: np.ndarray) -> Tensor:
        rows = torch.from_numpy(np.array(values, dtype=np.float32))
        return F.normalize(rows, dim=1) * rows.shape[1] ** 0.5

    def given(self, value: Any, n: int, name: str) -> Tensor:
        found = arguments.array(value, name)
        if found.ndim < 3 and found.shape[-1:] == self.shape:
            rows = found.reshape(-1, *self.shape)
            if not np.abs(rows).sum(1).all():
                raise Refused(f"{name} is a vector that has a direction, and given are zeros")
            return expanded(self.encode(rows), n, name)
        shape = self._encoder.data_shape
        if found.ndim not in (len(shape), len(shape) + 1):
            raise Refused(
                f"{name} is an item of shape {shape}, or a vector of {self.shape[0]} numbers; given is an array of "
                f"shape {found.shape}"
            )
        return expanded(self.encode(self.vectors(found[None] if found.ndim == len(shape) else found)), n, name)

    def from_word(self, word: str, name: str) -> Any:
        return picture(word, name, self._encoder.data_shape)

    def summary(self) -> str:
        return f"an embedding of {self.shape[0] if self.shape else 0} numbers, or the picture that it is of"

    def derivation(self, name: str) -> Derive | None:
        return partial(_derived, self)

    def vectors(self, x: np.ndarray) -> np.ndarray:
        """The unit vectors (count, d) of items (count, ...), float32."""
        return self._encoder.encode_image(x).float().numpy()

    def texts(self, words: Sequence[str]) -> Tensor:
        """The unit vectors (count, d) of texts, in the same space."""
        return self._encoder.encode_text(words).float()

    @property
    def spec(self) -> tuple[Form, tuple[int, ...]]:
        return self.form, (*self.shape, self.tokens)

    @property
    def stamp(self) -> str:
        return self.space

    @property
    def space(self) -> str:
        return self._encoder.digest

    @property
    def _encoder(self) -> ItemEncoder:
        if self.encoder is None:
            raise Refused('an embedding is made by a run of kind clip: conditions.NAME.encoder = "FOLDER"')
        return self.encoder


def _derived(condition: EmbeddingCondition, x: Any, white: float, missing: Any = None) -> np.ndarray:
    return condition.vectors(np.asarray(x[:]))
