"""What a process or a denoiser believes about a batch: normal values, token probabilities, or several named parts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from undiffuse.core.belief import Distribution, over_elements
from undiffuse.core.categories import Categories, Tokens
from undiffuse.core.random import Random

__all__ = ["Categories", "Distribution", "Joint", "Normal", "Tokens"]


@dataclass(frozen=True, eq=False)
class Normal(Distribution):
    """Independent normals: mean (batch, *shape), var a number or a tensor that broadcasts to it;
    var = 0 is certainty.

    fraction: of a guess with a learned range, in mean's shape: where the variance of a reverse step lies between its
    bounds (see `reverse`). It follows the guess, and the normal law itself does not depend on it.
    learned: var was learned beside the mean, so that a blend moves the mean and keeps the var of the other.
    """

    mean: Tensor
    var: Tensor | float = 0.0
    fraction: Tensor | None = None
    learned: bool = False

    @property
    def _variance(self) -> Tensor:
        return torch.as_tensor(self.var, dtype=self.mean.dtype, device=self.mean.device).expand_as(self.mean)

    @property
    def certain(self) -> bool:
        """Whether the variance is a scalar zero, as can be seen without waiting for a GPU."""
        if isinstance(self.var, Tensor) and (self.var.ndim or self.var.device.type != "cpu"):
            return False
        return float(self.var) == 0

    def sample(self, random: Random) -> Tensor:
        """mean + sqrt(var) noise."""
        if self.certain:
            return self.mean
        noise = random.normal(tuple(self.mean.shape), dtype=self.mean.dtype, device=self.mean.device)
        var = self.var if isinstance(self.var, Tensor) else torch.as_tensor(self.var, dtype=self.mean.dtype)
        return self.mean + var.sqrt().to(self.mean) * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """-1/2 sum((x - mean)^2 / var + log(2 pi var))."""
        var = self._variance
        return over_elements(-0.5 * ((x - self.mean) ** 2 / var + (2 * math.pi * var).log()))

    def kl(self, other: Self) -> Tensor:
        """1/2 sum(log(v'/v) + (v + (m - m')^2) / v' - 1)."""
        mine, theirs = self._variance, other._variance
        return over_elements(0.5 * ((theirs / mine).log() + (mine + (self.mean - other.mean) ** 2) / theirs - 1))

    def error(self, x_0: Tensor) -> Tensor:
        """sum((mean - x_0)^2)."""
        return over_elements((self.mean - x_0) ** 2)

    def mean_only(self) -> "Normal":
        return Normal(self.mean, 0.0)

    def rows(self, part: slice) -> "Normal":
        each = isinstance(self.var, Tensor) and self.var.ndim == self.mean.ndim and len(self.var) == len(self.mean)
        var = self.var[part] if isinstance(self.var, Tensor) and each else self.var
        fraction = None if self.fraction is None else self.fraction[part]
        return Normal(self.mean[part], var, fraction, self.learned)

    def blend(self, other: Self, weight: float | Tensor) -> "Normal":
        """Precisions mix linearly; with equal variances (or none) this is the mean's lerp,
        mean + weight (mean' - mean). The fraction is the other's: that of the guess which is guided to.

        weight: a number, or (batch,). Raises ValueError where an extrapolation leaves a variance that is not positive.
        """
        if isinstance(weight, Tensor) and weight.ndim:
            weight = weight.to(self.mean).reshape(-1, *(1,) * (self.mean.ndim - 1))
        if other.learned or self.certain or other.certain:  # a guess without a variance speaks of its mean only
            mean = self.mean + weight * (other.mean - self.mean)
            return Normal(mean, other.var if other.learned else 0.0, other.fraction, other.learned)
        mine, theirs = self._variance, other._variance
        precision = (1 - weight) / mine + weight / theirs
        if not bool((precision > 0).all()):
            raise ValueError("this blend has no positive variance: guide the means only, with mean_only()")
        mean = ((1 - weight) * self.mean / mine + weight * other.mean / theirs) / precision
        return Normal(mean, 1 / precision, other.fraction)


@dataclass(frozen=True, eq=False)
class Joint(Distribution):
    """Several named parts, independent given what is known; a sample is a dictionary of their samples."""

    parts: Mapping[str, Distribution]

    @property
    def mean(self) -> dict[str, Any]:  # type: ignore[override]
        """Each part's mean."""
        return {name: part.mean for name, part in self.parts.items()}

    def sample(self, random: Random) -> dict[str, Any]:
        return {name: part.sample(random.fold(i)) for i, (name, part) in enumerate(self.parts.items())}

    def log_prob(self, x: Mapping[str, Any]) -> Tensor:
        return sum_parts(part.log_prob(x[name]) for name, part in self.parts.items())

    def kl(self, other: Self) -> Tensor:
        return sum_parts(part.kl(other.parts[name]) for name, part in self.parts.items())

    def error(self, x_0: Mapping[str, Any]) -> Tensor:
        return sum_parts(part.error(x_0[name]) for name, part in self.parts.items())

    def mean_only(self) -> "Joint":
        return Joint({name: part.mean_only() for name, part in self.parts.items()})

    def rows(self, part: slice) -> "Joint":
        return Joint({name: belief.rows(part) for name, belief in self.parts.items()})

    def blend(self, other: Self, weight: float | Tensor) -> "Joint":
        return Joint({name: part.blend(other.parts[name], weight) for name, part in self.parts.items()})


def sum_parts(terms: Any) -> Tensor:
    """The sum of (batch,) terms."""
    return torch.stack(list(terms)).sum(0)
