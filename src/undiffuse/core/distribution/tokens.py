"""Beliefs about tokens: a probability for each symbol of a vocabulary."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from undiffuse.core.distribution.distribution import Distribution, each
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random

CHUNK = 2**20  # probabilities that are summed at once where tokens are drawn


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

    def kl_each(self, other: Any) -> Tensor:
        """sum(p (log p - log p')) over the vocabulary, with 0 log 0 = 0, and so for a p that is nothing, whose p' may
        have become 0.
        """
        mine = self.log_probs
        p = mine.exp()
        least = torch.finfo(p.dtype).tiny ** 0.5
        return torch.where(p > least, p * (mine - other.log_probs), 0.0).sum(-1)

    def error_each(self, x_0: Tensor) -> Tensor:
        """-log p(x_0)."""
        return -self.log_each(x_0)

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
        possible = (mine > -math.inf) & (theirs > -math.inf)
        mixed = mine + each(weight, mine) * (theirs - mine)
        return Tokens(torch.where(possible, mixed, -math.inf).log_softmax(-1))


@dataclass(frozen=True, eq=False)
class Tokens(Categories):
    """Categories written out: log_probs is normalised over the last axis."""

    log_probs: Tensor

    def sample(self, random: Random, where: Tensor | None = None) -> Tensor:
        """By inverting the cumulative sum, see `inverted`."""
        u = random.uniform(tuple(self.log_probs.shape[:-1]), device=self.log_probs.device)
        return inverted(self.log_probs, u, where)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Tokens":
        return Tokens(change(self.log_probs))

    def log_each(self, x: Tensor) -> Tensor:
        return self.log_probs.gather(-1, x.long()[..., None])[..., 0]

    def rows(self, part: slice) -> "Tokens":
        return Tokens(self.log_probs[part])


def logs(probs: Tensor) -> Tensor:
    """The logarithms of chances; one so small that 1 over it is no number counts as 0, which has no gradient."""
    there = probs >= torch.finfo(probs.dtype).tiny
    return torch.where(there, torch.where(there, probs, 1.0).log(), -torch.inf)


def unlike(laws: Tensor) -> Tensor:
    """Which laws, over the last axis, are none: not even up to what float32 rounds off each of their numbers."""
    slack = max(1e-6, laws.shape[-1] * torch.finfo(torch.float32).eps)
    return ~((laws.sum(-1) - 1).abs() <= slack) | (laws < -slack).any(-1)


def inverted(log_probs: Tensor, u: Tensor, where: Tensor | None = None) -> Tensor:
    """The categories at the levels u in (0, 1) of the cumulative sums, (batch, *shape); 0 where not `where`.

    In float64, exact to the last digit of u: Gumbel noise in float32 would cut the tail and lower the entropy. A few
    places at a time, so that there is no second copy of log_probs (batch, *shape, vocabulary).
    """
    size = log_probs.shape[-1]
    drawn = torch.zeros_like(u, dtype=torch.int64)
    places: Any = _places(u, where, size)
    for some in places.split(max(1, CHUNK // size)):
        at = some.unbind(1)
        probs = log_probs[at].to(torch.promote_types(log_probs.dtype, torch.float32)).exp()
        cumulative = probs.double().cumsum(-1)
        level = u[at] * cumulative[:, -1]
        drawn[at] = torch.searchsorted(cumulative, level[:, None], right=True)[:, 0].clamp(max=size - 1)
    return drawn if where is None else torch.where(where, drawn, 0)


def _places(u: Tensor, where: Tensor | None, size: int) -> Tensor:
    """The indices of the places to draw, (places, axes): all of them where that costs a GPU less than to be asked."""
    if where is not None and (u.device.type == "cpu" or u.numel() * size > CHUNK):
        return where.nonzero()
    return torch.cartesian_prod(*(torch.arange(length, device=u.device) for length in u.shape)).reshape(-1, u.ndim)
