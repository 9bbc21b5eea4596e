"""Statistics of latents: moments, rate, active units, and use of the codebook."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.distribution.normal import Normal

ACTIVE = 0.01  # the variance of a unit's mean over the data above which it says something of them
BITS = 1 / math.log(2)


@dataclass(frozen=True)
class LatentStatistics:
    """Of latents drawn from q(z | x) over the data: the mean and the standard deviation of each channel.

    rate: KL(q(z | x) || p(z)) in bits, a channel's over all places of an item, on average over items; None without a
    prior. active: numbers of an item whose posterior mean has a variance above 0.01 over the items, of `units`; of one
    that the encoder ignores it is 0. Source: arXiv:1509.00519.
    """

    shape: tuple[int, ...]
    mean: list[float]
    std: list[float]
    rate: list[float] | None
    active: int
    units: int

    @property
    def bits(self) -> float | None:
        """The rate of an item, in bits."""
        return None if self.rate is None else sum(self.rate)

    def content(self) -> dict[str, Any]:
        """In JSON's types."""
        return asdict(self) | {"shape": list(self.shape)}


@dataclass(frozen=True)
class CodebookUse:
    """tokens: of an item. vocabulary: entries; used: by any of the items, the others are dead. entropy: of an entry's
    frequency, in bits; perplexity: 2^entropy, how many equally frequent entries would say as much.
    """

    tokens: int
    vocabulary: int
    used: int
    entropy: float

    @property
    def dead(self) -> int:
        """Entries that no item has."""
        return self.vocabulary - self.used

    @property
    def perplexity(self) -> float:
        return 2**self.entropy

    @property
    def bits(self) -> float:
        """What an item's tokens take at these frequencies, each alone, in bits."""
        return self.tokens * self.entropy

    def content(self) -> dict[str, Any]:
        """In JSON's types."""
        return asdict(self) | {"dead": self.dead, "perplexity": self.perplexity, "bits": self.bits}


def statistics(posterior: Normal, prior: Normal | None) -> LatentStatistics:
    """Of q(z | x) of many items, z (count, channels, ...); prior: p(z)."""
    mean = posterior.mean.double()
    var = torch.as_tensor(posterior.var, dtype=torch.float64).expand_as(mean)
    total = _by_channel(mean).var(1, correction=0) + _by_channel(var).mean(1)
    rate = None
    if prior is not None:
        each = Normal(mean, var).kl_each(prior)
        rate = (_by_channel(each).sum(1) * (BITS / len(mean))).tolist()
    active = mean.flatten(1).var(0, correction=0) > ACTIVE
    shape = tuple(mean.shape[1:])
    centre = _by_channel(mean).mean(1).tolist()
    return LatentStatistics(shape, centre, total.sqrt().tolist(), rate, int(active.sum()), active.numel())


def codebook_use(tokens: Tensor, vocabulary: int) -> CodebookUse:
    """Of the tokens (count, ...) of many items."""
    counts = torch.bincount(tokens.flatten(), minlength=vocabulary).double()
    shares = counts[counts > 0] / counts.sum()
    entropy = float(-(shares * shares.log2()).sum())
    return CodebookUse(tokens[0].numel(), vocabulary, int((counts > 0).sum()), max(0.0, entropy))


def _by_channel(x: Tensor) -> Tensor:
    """(count, channels, ...) as (channels, count * places)."""
    return x.transpose(0, 1).flatten(1)
