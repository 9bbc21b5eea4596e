"""Features of any scale become numbers with mean 0 and standard deviation 1."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import Codec, as_dtype, as_float
from undiffuse.core.errors import Refused


@dataclass(frozen=True)
class Whiten(Codec):
    """z = (x - mean) / std for each feature of points and each channel of images; a constant feature has std 1."""

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(s > 0 for s in self.std):
            raise Refused(f"whiten needs as many std as mean, all above 0: mean = {self.mean}, std = {self.std}")

    def fit(self, x: np.ndarray) -> Self:
        """A copy with the moments of x, (count, features) or (count, channels, ...), taken in float64."""
        others = (0, *range(2, x.ndim))
        mean = x.mean(others, dtype=np.float64)
        std = x.std(others, dtype=np.float64)
        constant = x.min(others) == x.max(others)
        std = np.where(constant | (std == 0), 1.0, std)
        return replace(self, mean=tuple(mean.tolist()), std=tuple(std.tolist()), dtype=x.dtype.name)

    def encode(self, x: np.ndarray | Tensor) -> Tensor:
        """x as float32, each feature of mean 0 and deviation 1."""
        values = as_float(x)
        mean, std = self._moments(values)
        return (values - mean) / std

    def decode(self, z: Tensor) -> Tensor:
        """z in the data's own units."""
        mean, std = self._moments(z)
        return as_dtype(z.float() * std + mean, self.dtype)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.mean:
            raise Refused("whiten is not fitted: call fit(x) with the training data first")
        if x.ndim < 2 or x.shape[1] != len(self.mean):
            raise Refused(f"whiten was fitted to {len(self.mean)} features, and x has shape {tuple(x.shape)}")
        shape = (-1, *(1,) * (x.ndim - 2))  # to stand before height and width
        mean, std = (torch.tensor(m, dtype=torch.float32, device=x.device).view(shape) for m in (self.mean, self.std))
        return mean, std
