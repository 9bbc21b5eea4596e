"""How many points a cloud has, where the clouds of a batch have different numbers of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.condition_kind import ConditionKind, Derive, Form
from undiffuse.core import arguments
from undiffuse.core.errors import Refused


@dataclass(frozen=True)
class PointCountCondition(ConditionKind):
    """Which places of a cloud hold points of its own, booleans (1, places); the others are padding. It is always called
    `mask`, see `Masked`.

    A cloud is a set, in which no point stands twice: a place whose point stands before it in the same cloud is padding,
    as the places are with which the source `point_clouds` fills up small clouds. What is drawn is filled up likewise.
    A person gives the number of points; left out, there are as many as places.
    """

    form: ClassVar[Form] = "mask"
    axes: ClassVar[tuple[int, ...]] = (2,)
    items: ClassVar[tuple[int, ...]] = (2,)
    needs: ClassVar[str] = "(count, 1, places): booleans, which places are no padding"
    metavar: ClassVar[str] = "COUNT"
    help: ClassVar[str] = "How many points a cloud has."
    masks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.drop:
            raise Refused("how many points there are is never dropped: leave conditions.mask.drop out")

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim == 3 and values.shape[1] == 1 and values.dtype == bool

    def encode(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=bool))

    def from_items(self, values: np.ndarray, classes: Sequence[str]) -> Any:
        """How many points each has."""
        return values.reshape(len(values), -1).sum(1)

    def given(self, value: Any, n: int, name: str) -> Tensor:
        found, places = np.atleast_1d(arguments.array(value, name)), self.shape[-1]
        if found.ndim != 1 or found.dtype.kind not in "iu" or len(found) not in (1, n) or not _inside(found, places):
            raise Refused(
                f"{name} is how many points a cloud has, a whole number from 1 to {places}, one for all or {n} of "
                f"them, not {value!r}"
            )
        return (torch.arange(places) < torch.from_numpy(found.astype(np.int64))[:, None])[:, None].expand(n, -1, -1)

    def from_word(self, word: str, name: str) -> Any:
        try:
            return [int(number) for number in word.split(",")]
        except ValueError:
            raise Refused(f"{name} = {word!r}: write whole numbers with commas between them") from None

    def usual(self, n: int) -> Tensor:
        return torch.ones(n, *self.shape, dtype=torch.bool)

    def null(self, n: int) -> Tensor:
        return self.usual(n)

    def finished(self, x: Tensor, values: Tensor) -> Tensor:
        """Clouds (n, 3, places) with points of their own in turn in the place of padding."""
        order = torch.argsort(~values[:, 0], dim=1, stable=True)  # places of points first
        counts = values[:, 0].sum(1, keepdim=True)
        turn = torch.arange(values.shape[-1], device=values.device) % counts
        return x.gather(2, order.gather(1, turn)[:, None].expand(-1, x.shape[1], -1).to(x.device))

    def derivation(self, name: str) -> Derive:
        return lambda x, white, missing=None: own_points(np.asarray(x[:]))[:, None]

    def summary(self) -> str:
        return f"how many points a cloud has, up to {self.shape[-1]}" if self.shape else "how many points a cloud has"


def own_points(clouds: np.ndarray) -> np.ndarray:
    """Booleans (n, places): which places of clouds (n, channels, places) hold a point that stands at none before."""
    found = np.zeros((len(clouds), clouds.shape[2]), bool)
    for own, cloud in zip(found, clouds, strict=True):
        own[np.unique(cloud, axis=1, return_index=True)[1]] = True
    return found


def _inside(counts: np.ndarray, places: int) -> bool:
    return bool((counts >= 1).all() and (counts <= places).all())
