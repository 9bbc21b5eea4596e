"""Values of a known range, such as pixels, become numbers in [-1, 1]."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from torch import Tensor

from undiffuse.codecs.codec import ArrayLike, Codec, as_dtype, as_number, slices
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random


@dataclass(frozen=True)
class PixelsCodec(Codec):
    """z = 2 (x - low) / (high - low) - 1; decoding clips to [low, high]. A range of no width encodes to -1.

    low, high: None: of 8-bit integers all that they hold, 0 and 255; of all else the data's least and greatest number.
    """

    aliases: ClassVar[tuple[str, ...]] = ("minmax",)
    bounds: ClassVar[tuple[float, float] | None] = (-1.0, 1.0)

    low: float | None = None
    high: float | None = None
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise Refused(f"pixels lie between low and high, and low = {self.low} is not below high = {self.high}")

    def fit(self, x: ArrayLike, **beside: ArrayLike) -> Self:
        """A copy for the range of x, or for the one that was given; raises Refused for numbers of x outside it."""
        ends = [(float(part.min()), float(part.max())) for part in slices(x)]
        least, most = min(low for low, _ in ends), max(high for _, high in ends)
        bits = np.iinfo(x.dtype) if np.issubdtype(x.dtype, np.integer) and x.dtype.itemsize == 1 else None
        low, high = (float(bits.min), float(bits.max)) if bits else (least, most)
        low, high = low if self.low is None else self.low, high if self.high is None else self.high
        if least < low or most > high:
            raise Refused(
                f"codec.low = {low:g} and codec.high = {high:g}: the data go from {least:g} to {most:g}, beyond that"
            )
        return replace(self, low=low, high=high, dtype=x.dtype.name)

    @property
    def _ends(self) -> tuple[float, float]:
        """The numbers that become -1 and 1; where none were given or fitted, those of 8 bit."""
        return 0.0 if self.low is None else self.low, 255.0 if self.high is None else self.high

    @property
    def _width(self) -> float:
        low, high = self._ends
        return high - low or 1.0

    def encode(self, x: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """x as float32 in [-1, 1]."""
        return ((as_number(x) - self._ends[0]) * (2 / self._width) - 1).float()

    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """z in [-1, 1] as values in [low, high]; beyond is clipped."""
        low, high = self._ends
        wide = z.double() if self.dtype == "float64" else z.float()
        return as_dtype(((wide + 1) * (self._width / 2) + low).clamp(low, high), self.dtype)

    def log_det(self, shape: tuple[int, ...]) -> float:
        """log(2 / (high - low)) for each number."""
        return math.prod(shape) * math.log(2 / self._width)
