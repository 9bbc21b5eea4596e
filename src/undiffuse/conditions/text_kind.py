"""What the kinds of condition have in common whose values are texts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.condition_kind import ConditionKind, Form
from undiffuse.conditions.values import IndexedValues, expanded, refuse_count
from undiffuse.core import arguments


class TextKind(ConditionKind, ABC):
    """A text, which networks read by cross-attention. Each different one is encoded once."""

    form: ClassVar[Form] = "text"
    needs: ClassVar[str] = "texts"
    says: ClassVar[bool] = True

    @abstractmethod
    def read(self, texts: Sequence[str]) -> Tensor:
        """Different texts of the data as networks take them, (count, *shape)."""

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim == 1 and values.dtype.kind == "U"

    def encode(self, values: np.ndarray) -> IndexedValues:
        different, which = np.unique(np.asarray(values), return_inverse=True)
        return IndexedValues(self.read([str(text) for text in different]), torch.from_numpy(which.reshape(-1)))

    def given(self, value: Any, n: int, name: str) -> Tensor:
        texts = [arguments.text(text, name) for text in _each(value)]
        refuse_count(len(texts), n, name)
        return expanded(self.encode(np.array(texts))[torch.arange(len(texts))], n, name)

    def captions(self, value: Any) -> tuple[str, ...]:
        return tuple(map(str, _each(value)))


def _each(value: Any) -> list[Any]:
    values = value.tolist() if isinstance(value, np.ndarray) else value
    return [values] if isinstance(values, str) or not isinstance(values, Sequence) else list(values)
