"""A segmentation: which class each place of a picture is of, a semantic map."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from undiffuse.conditions.condition_kind import ConditionKind, Form
from undiffuse.conditions.picture_file import in_file
from undiffuse.conditions.values import as_tensor, expanded
from undiffuse.core import arguments
from undiffuse.core.errors import Refused

MOST = 1024  # classes


@dataclass(frozen=True)
class SegmentationCondition(ConditionKind):
    """A class number at every place, 0, 1 ..., of any size; networks take a channel a class beside the sample, at the
    sample's own size, each place from the nearest one. The data decide how many classes there are.
    """

    form: ClassVar[Form] = "map"
    axes: ClassVar[tuple[int, ...]] = (2, 3, 4)
    needs: ClassVar[str] = "whole numbers (count, height, width)"
    metavar: ClassVar[str] = "FILE"
    beside: ClassVar[bool] = True
    help: ClassVar[str] = "A map of classes: grey levels or a palette's numbers."

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim - 1 in self.axes and values.shape[1] == 1 and values.dtype.kind in "ui"

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= MOST:
            raise Refused(f"a segmentation has the classes 0 to {MOST - 1} at most, and the data {low} to {high}")
        return replace(self, shape=tuple(values.shape[1:]), classes=tuple(str(i) for i in range(high + 1)))

    def encode(self, values: np.ndarray) -> Tensor:
        return as_tensor(values)

    def given(self, value: Any, n: int, name: str) -> Tensor:
        found = arguments.array(value, name)
        axes = len(self.shape)
        found = found[None] if found.ndim == axes - 1 else found  # one map, without its channel
        if found.ndim == axes and found.shape[0] != 1:
            found = found[:, None]  # several, without theirs
        found = found[None] if found.ndim == axes else found
        if found.ndim != axes + 1 or found.shape[1] != 1 or found.dtype.kind not in "uib":
            raise Refused(
                f"{name} is whole numbers of shape {self.shape[1:]}, of any size; given are {found.dtype} of shape "
                f"{arguments.array(value, name).shape}"
            )
        if found.size and not 0 <= int(found.min()) <= int(found.max()) < len(self.classes):
            raise Refused(
                f"{name} has the classes 0 to {len(self.classes) - 1}, and given are {found.min()} to {found.max()}"
            )
        maps = as_tensor(found.astype(np.int64)).float()
        return expanded(F.interpolate(maps, self.shape[1:], mode="nearest-exact").long(), n, name)

    def from_word(self, word: str, name: str) -> Any:
        """An image file whose grey levels, or numbers of a palette, are classes; or an .npy."""

        def levels() -> np.ndarray:
            with Image.open(word) as image:
                if image.mode not in ("P", "L", "1", "I;16"):
                    raise Refused(f"it has colours ({image.mode}), and classes are grey levels or a palette's numbers")
                return np.asarray(image)

        return in_file(word, name, levels)

    def summary(self) -> str:
        return f"a map of {' x '.join(map(str, self.shape[1:]))} with {len(self.classes)} classes"

    @property
    def spec(self) -> tuple[Form, tuple[int, ...]]:
        return self.form, (len(self.classes), *self.shape[1:])
