"""Features of any scale become numbers with mean 0 and standard deviation 1."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import ArrayLike, Codec, as_dtype, as_number, slices
from undiffuse.codecs.normal import centred
from undiffuse.codecs.steps import Inside, places, reach, restored
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random


@dataclass(frozen=True)
class Whiten(Codec):
    """z = (x - mean) / std for each feature of points and each channel of images; a constant feature has std 1.

    Decoding rounds points to the decimals that the data have (whole numbers stay whole), in float64. inside: which
    features never leave the range of the data: "whole" numbers and what never changes, "all", or "none" but the last.
    mean, std: (): those of the data. decimals, least, most: of points, what was fitted; least and most of others than
    whole numbers are rounded outwards.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    dtype: str = "float32"
    inside: Inside = "whole"
    decimals: tuple[int, ...] = ()
    least: tuple[float, ...] = ()
    most: tuple[float, ...] = ()

    aliases: ClassVar[tuple[str, ...]] = ("standardise", "standardize", "zscore")
    normalises: ClassVar[bool] = True

    def __post_init__(self) -> None:
        both = bool(self.mean and self.std)
        if (both and len(self.mean) != len(self.std)) or not all(0 < s < math.inf for s in self.std):
            raise Refused(f"whiten needs as many std as mean, all above 0: mean = {self.mean}, std = {self.std}")
        if {len(self.decimals), len(self.least), len(self.most)} not in ({0}, {len(self.mean)}):
            raise Refused(f"whiten needs decimals, least and most for each of {len(self.mean)} features, or none")

    def fit(self, x: ArrayLike, **beside: ArrayLike) -> Self:
        """A copy with the moments of x, (count, features) or (count, channels, ...), taken in float64, or with those
        that were given; raises Refused for another number of them.
        """
        mean, std, low, high = moments(x)
        std = np.where(low == high, 1.0, np.where(std > 0, std, (high - low) / 2))
        for name, given in (("mean", self.mean), ("std", self.std)):
            if len(given) not in (0, len(mean)):
                raise Refused(
                    f"codec.{name} has {len(given)} numbers, and the data have {len(mean)} channels or columns"
                )
        decimals = tuple(_places(x, i) for i in range(x.shape[1])) if x.ndim == 2 else ()
        if decimals:
            mean, std = centred(mean, std, decimals, low, high)
        known = zip(low, high, decimals, strict=True) if decimals else ()
        ends = [reach(np.array(each), count) for *each, count in known]
        return replace(
            self,
            mean=self.mean or tuple(mean.tolist()),
            std=self.std or tuple(std.tolist()),
            dtype=x.dtype.name,
            decimals=decimals,
            least=tuple(end for end, _ in ends),
            most=tuple(end for _, end in ends),
        )

    def encode(self, x: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """x as float32, each feature of mean 0 and deviation 1."""
        values = as_number(x)
        values = values.double() if values.ndim == 2 else values
        mean, std = self._moments(values)
        return ((values - mean) / std).float()

    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """z in the data's own units."""
        values = z.double() if z.ndim == 2 or self.dtype == "float64" else z.float()
        mean, std = self._moments(values)
        x = values * std + mean
        return as_dtype(
            restored(x, self.decimals, self.least, self.most, self.inside) if self.decimals else x, self.dtype
        )

    def log_det(self, shape: tuple[int, ...]) -> float:
        """-log std, for each number of its feature or channel."""
        return -math.prod(shape[1:]) * sum(map(math.log, self.std))

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not (self.mean and self.std):
            raise Refused("whiten is not fitted: call fit(x) with the training data first")
        if x.ndim < 2 or x.shape[1] != len(self.mean):
            raise Refused(f"whiten was fitted to {len(self.mean)} features, and x has shape {tuple(x.shape)}")
        shape = (-1, *(1,) * (x.ndim - 2))  # to stand before height and width
        mean, std = (torch.tensor(m, dtype=x.dtype, device=x.device).view(shape) for m in (self.mean, self.std))
        return mean, std


def moments(x: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, deviation, least and greatest value of each feature or channel of x in float64, (channels,) each.

    Slices are joined by their means and squared distances, which loses no digits where the mean is large:
    M = M_a + M_b + (mean_b - mean_a)^2 n_a n_b / (n_a + n_b)   (Chan, Golub, LeVeque 1979, eq. 1.5).
    """
    axes = (0, *range(2, x.ndim))
    count, mean, square = 0, np.zeros(x.shape[1]), np.zeros(x.shape[1])
    low, high = np.full(x.shape[1], np.inf), np.full(x.shape[1], -np.inf)
    for part in slices(x):
        n = part.size // x.shape[1]
        least, most = part.min(axes).astype(np.float64), part.max(axes).astype(np.float64)
        part_mean, part_square = (least, 0.0) if (least == most).all() else _of_slice(part, axes, n)
        apart = part_mean - mean
        square += part_square + apart**2 * (count * n / (count + n))
        mean += apart * (n / (count + n))
        count += n
        low, high = np.minimum(low, least), np.maximum(high, most)
    return mean, np.sqrt(square / count), low, high


def _places(x: ArrayLike, column: int) -> int:
    """How many places behind the point a feature's numbers have; -1: many."""
    found = [places(part[:, column]) for part in slices(x)]
    return -1 if min(found) < 0 else max(found)


def _of_slice(part: np.ndarray, axes: tuple[int, ...], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and summed squared distance of each channel; of integers through exact sums, which are faster."""
    if part.dtype not in (np.uint8, np.uint16):
        return part.mean(axes, dtype=np.float64), part.var(axes, dtype=np.float64) * n
    wide = np.uint16 if part.dtype == np.uint8 else np.uint32
    sums = [int(s) for s in part.sum(axes, dtype=np.uint64)]
    squares = [int(s) for s in np.square(part, dtype=wide).sum(axes, dtype=np.uint64)]
    spread = [(q * n - s * s) / n for s, q in zip(sums, squares, strict=True)]
    return np.array([s / n for s in sums]), np.array(spread)
