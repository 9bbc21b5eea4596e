"""Whether an item is a video, or a stack of images that have nothing to do with one another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.condition_kind import ConditionKind, Form
from undiffuse.conditions.values import expanded
from undiffuse.core import arguments
from undiffuse.core.errors import Refused


@dataclass(frozen=True)
class StillCondition(ConditionKind):
    """1 of a stack of images, each of which is an image of its own: the layers along time leave it alone; 0 of a video.

    Data have it where images are learned from beside videos (`data.images`). It need not be given: samples are videos.
    Source: arXiv:2204.03458, sec. 3.2 (joint training on video and images).
    """

    form: ClassVar[Form] = "still"
    axes: ClassVar[tuple[int, ...]] = (1,)
    needs: ClassVar[str] = "(count, 1): 1 of stacks of images, 0 of videos"
    metavar: ClassVar[str] = "0|1"
    help: ClassVar[str] = "1: a stack of images in the place of a video."
    optional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.drop:
            raise Refused("whether an item is a video is never dropped: leave conditions.still.drop out")

    @property
    def needed(self) -> bool:
        return False

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim == 2 and values.shape[1] == 1 and values.dtype.kind in "buif"

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        return replace(self, shape=(1,))

    def encode(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32))

    def given(self, value: Any, n: int, name: str) -> Tensor:
        found = arguments.array(value, name).reshape(-1, 1)
        if not np.isin(found, (0, 1)).all():
            raise Refused(f"{name} is 1 of a stack of images and 0 of a video, not {value!r}")
        return expanded(self.encode(found), n, name)

    def from_word(self, word: str, name: str) -> Any:
        if word not in ("0", "1"):
            raise Refused(f"{name} is 1 of a stack of images and 0 of a video, not {word!r}")
        return int(word)

    def summary(self) -> str:
        return "1 of a stack of images, 0 of a video"
