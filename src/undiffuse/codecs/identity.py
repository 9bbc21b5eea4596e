"""Data that are already fit for a process pass unchanged."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from torch import Tensor

from undiffuse.codecs.codec import ArrayLike, Codec, as_dtype, as_float
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random


@dataclass(frozen=True)
class Identity(Codec):
    """z = x; only the dtype changes, and decoding restores it."""

    dtype: str = "float32"

    def fit(self, x: ArrayLike, **beside: ArrayLike) -> Self:
        """A copy that decodes to the dtype of x; raises Refused for numbers that float32 does not hold."""
        if x.dtype == np.float64:
            raise Refused("the codec identity passes numbers as float32, and these need float64: take whiten or pixels")
        return replace(self, dtype=x.dtype.name)

    def encode(self, x: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """x as float32."""
        return as_float(x)

    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """z in the data's dtype."""
        return as_dtype(z, self.dtype)

    def log_det(self, shape: tuple[int, ...]) -> float:
        """0: nothing is scaled."""
        return 0.0
