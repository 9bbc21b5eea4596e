"""What a process or a denoiser believes about a batch: normal values, token probabilities, or several named parts."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random

CHUNK = 2**20  # probabilities that are summed at once where tokens are drawn


class Distribution(ABC):
    """A belief about a batch (batch, *shape), independent over samples and elements."""

    mean: Any  # tokens: probabilities

    @abstractmethod
    def sample(self, random: Random) -> Any:
        """One draw a sample; depends on the stream and the sample index only."""

    @abstractmethod
    def log_prob(self, x: Any) -> Tensor:
        """Log-density (values) or log-probability (tokens) in nats, summed over elements: (batch,)."""

    @abstractmethod
    def kl(self, other: Any) -> Tensor:
        """KL(self || other) in nats, summed over elements: (batch,)."""

    @abstractmethod
    def error(self, x_0: Any) -> Tensor:
        """The Bregman loss that E[x_0] minimises, summed over elements: squared error or cross-entropy; (batch,)."""

    @abstractmethod
    def mean_only(self) -> Self:
        """The belief without its variance, for deterministic samplers; tokens: itself."""

    @abstractmethod
    def rows(self, part: slice) -> Self:
        """The belief about some of the samples."""

    @abstractmethod
    def blend(self, other: Any, weight: float | Tensor) -> Self:
        """self^(1 - weight) other^weight, normalised; outside [0, 1] it extrapolates:
        guidance is `without.blend(with, weight)`.
        """


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
        return self.mean + torch.as_tensor(self.var).sqrt().to(self.mean.dtype) * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """-1/2 sum((x - mean)^2 / var + log(2 pi var))."""
        var = self._variance
        return _sum(-0.5 * ((x - self.mean) ** 2 / var + (2 * math.pi * var).log()))

    def kl(self, other: Self) -> Tensor:
        """1/2 sum(log(v'/v) + (v + (m - m')^2) / v' - 1)."""
        mine, theirs = self._variance, other._variance
        return _sum(0.5 * ((theirs / mine).log() + (mine + (self.mean - other.mean) ** 2) / theirs - 1))

    def error(self, x_0: Tensor) -> Tensor:
        """sum((mean - x_0)^2)."""
        return _sum((self.mean - x_0) ** 2)

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


class Categories(Distribution, ABC):
    """Independent categories, log_probs (batch, *shape, vocabulary); a sample is int64 (batch, *shape)."""

    log_probs: Any

    @property
    def mean(self) -> Tensor:  # type: ignore[override]
        """The probabilities, (batch, *shape, vocabulary)."""
        return self.log_probs.exp()

    @abstractmethod
    def sample(self, random: Random, where: Tensor | None = None) -> Tensor:
        """One draw a sample; where: booleans (batch, *shape), the only places that need one: 0 elsewhere."""

    @abstractmethod
    def log_each(self, x: Tensor) -> Tensor:
        """The log-probability of each token of x, (batch, *shape)."""

    def log_prob(self, x: Tensor) -> Tensor:
        """sum(log p(x))."""
        return _sum(self.log_each(x))

    def kl(self, other: Any) -> Tensor:
        """sum(p (log p - log p')), with 0 log 0 = 0."""
        mine = self.log_probs
        p = mine.exp()
        return _sum(torch.where(p > 0, p * (mine - other.log_probs), 0.0).sum(-1))

    def error(self, x_0: Tensor) -> Tensor:
        """-sum(log p(x_0))."""
        return -self.log_prob(x_0)

    def mean_only(self) -> Self:
        return self

    @abstractmethod
    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Categories":
        """The belief with its log-probabilities changed, wherever it is not certain anyway."""

    def blend(self, other: Any, weight: float | Tensor) -> "Tokens":  # type: ignore[override]
        """log p + weight (log p' - log p), renormalised. A category that either side excludes stays excluded;
        weight: a number, or (batch,). Raises Refused for another vocabulary.
        """
        mine, theirs = self.log_probs, other.log_probs
        if mine.shape[-1] != theirs.shape[-1]:
            raise Refused(
                f"two guesses over different vocabularies, of {mine.shape[-1]} and {theirs.shape[-1]} symbols, cannot "
                "be mixed: guidance needs models of the same tokens"
            )
        if isinstance(weight, Tensor) and weight.ndim:
            weight = weight.to(mine).reshape(-1, *(1,) * (mine.ndim - 1))
        possible = (mine > -math.inf) & (theirs > -math.inf)
        mixed = mine + weight * (theirs - mine)
        return Tokens(torch.where(possible, mixed, -math.inf).log_softmax(-1))


@dataclass(frozen=True, eq=False)
class Tokens(Categories):
    """Categories written out: log_probs is normalised over the last axis."""

    log_probs: Tensor

    def sample(self, random: Random, where: Tensor | None = None) -> Tensor:
        """By inverting the cumulative sum in float64, exact to the last digit of the uniform draw: Gumbel noise in
        float32 would cut the tail and lower the entropy. A few places at a time, so that there is no second copy.
        """
        *shape, size = self.log_probs.shape
        u = random.uniform(tuple(shape), device=self.log_probs.device)
        drawn = torch.zeros_like(u, dtype=torch.int64)
        asked: Tensor = torch.ones_like(drawn) if where is None else where
        places: Any = asked.nonzero()
        for some in places.split(max(1, CHUNK // size)):
            at = some.unbind(1)
            probs = self.log_probs[at].to(torch.promote_types(self.log_probs.dtype, torch.float32)).exp()
            cumulative = probs.double().cumsum(-1)
            level = u[at] * cumulative[:, -1]
            drawn[at] = torch.searchsorted(cumulative, level[:, None], right=True)[:, 0].clamp(max=size - 1)
        return drawn

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Tokens":
        return Tokens(change(self.log_probs))

    def log_each(self, x: Tensor) -> Tensor:
        return self.log_probs.gather(-1, x[..., None])[..., 0]

    def rows(self, part: slice) -> "Tokens":
        return Tokens(self.log_probs[part])


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


def _sum(elements: Tensor) -> Tensor:
    """Over everything but the batch: (batch,)."""
    return elements.flatten(1).sum(1) if elements.ndim > 1 else elements
