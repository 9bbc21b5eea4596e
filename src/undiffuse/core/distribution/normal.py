"""A belief about values: independent normals."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from undiffuse.core.distribution.distribution import Distribution, each
from undiffuse.core.random import Random


@dataclass(frozen=True, eq=False)
class Normal(Distribution):
    """Independent normals: mean (batch, *shape), var a number or a tensor that broadcasts to it.

    var = 0 is certainty, however it is written; the plain number 0 also says that no variance was reported.
    fraction: of a guess with a learned range, in mean's shape: where the variance of a reverse step lies between its
    bounds (see `reverse`). It follows the guess, and the normal law itself does not depend on it.
    """

    mean: Tensor
    var: Tensor | float = 0.0
    fraction: Tensor | None = None

    @property
    def _variance(self) -> Tensor:
        return torch.as_tensor(self.var, dtype=self.mean.dtype, device=self.mean.device).expand_as(self.mean)

    @property
    def certain(self) -> bool:
        """Whether the variance is 0 everywhere; that of a tensor on a GPU has to be waited for."""
        return not bool(torch.as_tensor(self.var).any())

    @property
    def reported(self) -> bool:
        """Whether somebody said what the variance is, be it 0: all but the plain number 0."""
        return isinstance(self.var, Tensor) or self.var != 0

    def sample(self, random: Random) -> Tensor:
        """mean + sqrt(var) noise."""
        waits = isinstance(self.var, Tensor) and self.var.device.type != "cpu"
        if not waits and self.certain:
            return self.mean
        noise = random.normal(tuple(self.mean.shape), dtype=self.mean.dtype, device=self.mean.device)
        var = self.var if isinstance(self.var, Tensor) else torch.as_tensor(self.var, dtype=self.mean.dtype)
        return self.mean + var.sqrt().to(self.mean) * noise

    def log_each(self, x: Tensor) -> Tensor:
        """-1/2 ((x - mean)^2 / var + log(2 pi var))."""
        var = self._variance
        return -0.5 * ((x - self.mean) ** 2 / var + (2 * math.pi * var).log())

    def kl_each(self, other: Self) -> Tensor:
        """1/2 (log(v'/v) + (v + (m - m')^2) / v' - 1)."""
        mine, theirs = self._variance, other._variance
        return 0.5 * ((theirs / mine).log() + (mine + (self.mean - other.mean) ** 2) / theirs - 1)

    def error_each(self, x_0: Tensor) -> Tensor:
        """(mean - x_0)^2."""
        return (self.mean - x_0) ** 2

    def mean_only(self) -> "Normal":
        return Normal(self.mean, 0.0)

    def rows(self, part: slice) -> "Normal":
        each = isinstance(self.var, Tensor) and self.var.ndim == self.mean.ndim and len(self.var) == len(self.mean)
        var = self.var[part] if isinstance(self.var, Tensor) and each else self.var
        fraction = None if self.fraction is None else self.fraction[part]
        return Normal(self.mean[part], var, fraction)

    def blend(self, other: Self, weight: float | Tensor) -> "Normal":
        """mean + weight (mean' - mean), with the variance and the fraction of the other: of the guess guided to.

        weight: a number, or (batch,). The geometric mixture of the two densities is `tilted`.
        """
        return Normal(self.mean + each(weight, self.mean) * (other.mean - self.mean), other.var, other.fraction)

    def tilted(self, other: Self, weight: float | Tensor) -> "Normal":
        """The density self^(1 - weight) other^weight, normalised: precisions mix linearly, and means with them.

        weight: a number, or (batch,). Guided samplers do not end in it (docs/guidance.md). Raises ValueError where a
        variance is 0, and where an extrapolation leaves one that is not positive.
        """
        weight = each(weight, self.mean)
        mine, theirs = self._variance, other._variance
        precision = (1 - weight) / mine + weight / theirs
        if not bool((precision > 0).all() and precision.isfinite().all()):
            raise ValueError("these densities have no such mixture: its variance would not be positive")
        return Normal(((1 - weight) * self.mean / mine + weight * other.mean / theirs) / precision, 1 / precision)
