"""Random crops of pictures, and the same part of the pictures beside them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.values import as_tensor
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset


@dataclass(frozen=True)
class Crops:
    """Squares of `side` pixels at random places of pictures, (batch, channels, height, width).

    beside: the conditions that show the same place, of which so many pixels of the picture are one. Places are
    multiples of all of these, so that a condition's pixels are never cut.
    """

    side: int
    beside: Mapping[str, int]

    @classmethod
    def of(cls, side: int, data: Dataset, conditions: Mapping[str, ConditionKind], codec: Codec) -> Self | None:
        """Crops of the data's pictures, None for a side of 0.

        Raises Refused for what cannot be cropped: other items than pictures, a codec whose numbers are of whole
        pictures, conditions that name places, and sizes that do not fit.
        """
        if not side:
            return None
        says = f"train.crop = {side}: "
        if data.vocabulary or data.x.ndim != 4:
            raise Refused(f"{says}crops are of pictures, and {data.name} has {data.kind}")
        height, width = data.x.shape[2:]
        if not side < min(height, width):
            raise Refused(f"{says}a crop is smaller than the pictures, which are {height} x {width}")
        if name := next((name for name, each in conditions.items() if each.placed), None):
            raise Refused(f"{says}{name!r} names places of the whole picture")
        beside = {name: each.shape for name, each in conditions.items() if each.beside}
        for name, shape in beside.items():
            down, across = height / shape[1], width / shape[2]
            if down != across or down != int(down) or side % int(down):
                raise Refused(f"{says}{name!r} of {shape[1]} x {shape[2]} has no whole pixels in such a part")
        if not _by_pixel(codec, data, side):
            raise Refused(
                f"{says}what this codec makes of a picture is not of each pixel: take whole ones, --set train.crop=0"
            )
        return cls(side, {name: height // shape[1] for name, shape in beside.items()})

    def __call__(self, x: Tensor, conditions: Mapping[str, Any], random: Random) -> tuple[Tensor, dict[str, Any]]:
        """A crop of each picture, and of what stands beside it."""
        step = math.lcm(1, *self.beside.values())
        top, left = (
            step * random.fold(axis).integers((size - self.side) // step + 1, (len(x),), device=x.device)
            for axis, size in enumerate(x.shape[2:])
        )
        cut = {
            name: _cut(conditions[name], top // scale, left // scale, self.side // scale)
            for name, scale in self.beside.items()
        }
        return _cut(x, top, left, self.side), {**conditions, **cut}


def _cut(x: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """The square of each picture with its upper left corner at (top, left), each (batch,)."""
    along = torch.arange(side, device=x.device)
    which = torch.arange(len(x), device=x.device)[:, None, None]
    rows, columns = (top[:, None] + along)[:, :, None], (left[:, None] + along)[:, None, :]
    return x.permute(0, 2, 3, 1)[which, rows, columns].permute(0, 3, 1, 2)


def _by_pixel(codec: Codec, data: Dataset, side: int) -> bool:
    """Whether a crop of what is encoded is what a crop is encoded to."""
    if codec.stamp or codec.tokens:
        return False
    first = as_tensor(np.asarray(data.some(1).x))
    try:
        part = codec.encode(first[..., :side, :side])
        return torch.allclose(codec.encode(first)[..., :side, :side], part, atol=1e-5)
    except RuntimeError:
        return False
