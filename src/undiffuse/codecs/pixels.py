"""Values of a known range, such as pixels, become numbers in [-1, 1]."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from torch import Tensor

from undiffuse.codecs.codec import Codec, Items, as_dtype, as_number, slices
from undiffuse.core.errors import Refused


@dataclass(frozen=True)
class Pixels(Codec):
    """z = 2 (x - low) / (high - low) - 1; decoding clips to [low, high]. A range of no width encodes to -1."""

    bounds: ClassVar[tuple[float, float] | None] = (-1.0, 1.0)

    low: float = 0.0
    high: float = 255.0
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise Refused(f"pixels lie between low and high, and low = {self.low} is not below high = {self.high}")

    def fit(self, x: Items) -> Self:
        """A copy for the range of x: all that an integer dtype holds, the least and greatest value of floats."""
        if np.issubdtype(x.dtype, np.integer):
            limits = np.iinfo(x.dtype)
            return replace(self, low=float(limits.min), high=float(limits.max), dtype=x.dtype.name)
        ends = [(float(part.min()), float(part.max())) for part in slices(x)]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        return replace(self, low=low, high=high, dtype=x.dtype.name)

    @property
    def _width(self) -> float:
        return self.high - self.low or 1.0

    def encode(self, x: np.ndarray | Tensor) -> Tensor:
        """x as float32 in [-1, 1]."""
        return ((as_number(x) - self.low) * (2 / self._width) - 1).float()

    def decode(self, z: Tensor) -> Tensor:
        """z in [-1, 1] as values in [low, high]; beyond is clipped."""
        wide = z.double() if self.dtype == "float64" else z.float()
        values = (wide + 1) * (self._width / 2) + self.low
        return as_dtype(values.clamp(self.low, self.high), self.dtype)

    def log_det(self, shape: tuple[int, ...]) -> float:
        """log(2 / (high - low)) for each number."""
        return math.prod(shape) * math.log(2 / self._width)
