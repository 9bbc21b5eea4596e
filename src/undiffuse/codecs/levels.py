"""Numbers on a few levels become tokens: each distinct value of the data is a symbol, in rising order."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import ArrayLike, Codec, slices
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random

MOST = 1024  # levels


@dataclass(frozen=True)
class Levels(Codec):
    """z = the place of x among the values, int64 from 0; decoding gives the values back.

    values: the levels, rising; none: all that the data have. frequencies: the share of each among the data's numbers.
    A mask that is left decodes to the middle level. Raises Refused for more than 1,024 levels, and for other numbers
    than those that it was fitted to.
    """

    tokens = True

    values: tuple[float, ...] = ()
    frequencies: tuple[float, ...] = ()
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        if any(a >= b for a, b in zip(self.values, self.values[1:], strict=False)):
            raise Refused("the values of levels rise")
        if len(self.values) == 1 or len(self.frequencies) not in (0, len(self.values)):
            raise Refused(f"levels are 2 or more, each with its frequency; got {len(self.values)} values")

    @property
    def vocabulary(self) -> int:
        """How many levels there are; 0 before they are fitted."""
        return len(self.values)

    def fit(self, x: ArrayLike, **beside: ArrayLike) -> Self:
        """A copy with the values of x and how frequent each is."""
        found: dict[float, int] = {float(v): 0 for v in self.values}
        for part in slices(x):
            values, counts = np.unique(np.asarray(part), return_counts=True)
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                if self.values and float(value) not in found:
                    raise self._none_of_them(value)
                found[float(value)] = found.get(float(value), 0) + count
            if len(found) > MOST:
                raise Refused(
                    f"the codec levels takes up to {MOST:,} distinct values, and the data have more: use pixels"
                )
        if len(found) < 2:
            raise Refused("the data have one level only: there is nothing to learn")
        levels = sorted(found)
        counts = np.array([found[v] for v in levels])
        shares = tuple((counts / counts.sum()).tolist())
        return replace(self, values=tuple(levels), frequencies=shares, dtype=x.dtype.name)

    def encode(self, x: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """The tokens of x as int64; raises Refused for a value that is no level."""
        numbers = torch.as_tensor(np.asarray(x).astype(np.float64)) if not isinstance(x, Tensor) else x.double()
        levels = torch.tensor(self.values, dtype=torch.float64, device=numbers.device)
        place = torch.searchsorted(levels, numbers.contiguous()).clamp(max=max(0, len(levels) - 1))
        if not len(levels):
            raise Refused("levels is not fitted: call fit(x) with the training data first")
        if numbers.device.type == "cpu" and not bool((levels[place] == numbers).all()):
            raise self._none_of_them(float(numbers[levels[place] != numbers][0]))
        return place

    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """The values of the tokens z in the data's dtype."""
        levels = torch.tensor([*self.values, self.values[len(self.values) // 2]], dtype=torch.float64, device=z.device)
        return levels[z.clamp(max=len(self.values))].to(getattr(torch, self.dtype))

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """The nearest level of each number; of two equally near ones the lower one."""
        levels = np.array(self.values)
        between = (levels[1:] + levels[:-1]) / 2
        return levels[np.searchsorted(between, x.astype(np.float64))].astype(x.dtype)

    def log_det(self, shape: tuple[int, ...]) -> float:
        """0: nothing is scaled."""
        return 0.0

    def _none_of_them(self, value: float) -> Refused:
        near = min(self.values, key=lambda level: abs(level - value))
        return Refused(
            f"the data have the number {value:g}, which is none of the {len(self.values)} levels (the nearest is "
            f"{near:g}): levels are the numbers that the training data had; "
            "--set codec.name=pixels trains on all of 8 bit"
        )
