"""The probability that a normal gives to whatever stands for one number once it is rounded."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.distribution.discretised_normal import log_chance
from undiffuse.core.distribution.normal import Normal


@dataclass(frozen=True)
class Bins:
    """P(x) = Phi((high - mean)/std) - Phi((low - mean)/std) with (low, high) = interval(x), the bin that x lies in.

    What `Decoder` is for even levels; interval: of values (batch, d) the ends of their bins in the same shape, infinite
    at the outermost, so that the chances of all bins sum to 1. width: of a usual bin, to which a bound fits its steps:
    noise far below it hides nothing of which bin it is, and steps there only cost.
    """

    interval: Callable[[Tensor], tuple[Tensor, Tensor]]
    width: float = 0.0

    def check(self, x: Tensor) -> Tensor:
        """x itself: every number lies in a bin."""
        return x

    def log_prob(self, x: Tensor, belief: Normal) -> Tensor:
        """log P(x) in nats, summed over elements: (batch,)."""
        low, high = self.interval(x)
        std = torch.as_tensor(belief.var, dtype=torch.float64, device=x.device).sqrt()
        mean = belief.mean.double()
        return log_chance((low - mean) / std, (high - mean) / std).flatten(1).sum(1)
