"""What a text should be, as the log of its probability when each token has chances of its own: no training needed."""

from dataclasses import dataclass

import torch
from torch import Tensor

RARE = -30.0  # log of a sum of chances below which "at least once" is that sum, to rounding


@dataclass(frozen=True)
class Keyword:
    """log p(these tokens stand side by side somewhere) = log(1 - prod_i (1 - q_i)),  q_i = prod_j p(x^{i+j} = w_j).

    The places are taken as independent. Called with log_probs (batch, length, vocabulary), gives (batch,) in float64,
    as all controls do.
    """

    tokens: tuple[int, ...]

    def __call__(self, log_probs: Tensor) -> Tensor:
        places = log_probs.shape[1] - len(self.tokens) + 1
        each = [log_probs[:, j : j + places, token].double() for j, token in enumerate(self.tokens)]
        here = torch.stack(each).sum(0)
        total = here.logsumexp(1)
        never = torch.log1p(-here.exp().clamp(max=1 - 1e-12)).sum(1)
        return torch.where(total > RARE, (-torch.expm1(never.clamp(max=-1e-14))).log(), total)


@dataclass(frozen=True)
class Length:
    """log p(the text ends behind `length` tokens) = sum_{i < length} log(1 - p_i) + sum_{i >= length} log p_i,  p_i the
    chance of padding at the place i.
    """

    length: int
    pad: int

    def __call__(self, log_probs: Tensor) -> Tensor:
        ended = log_probs[:, self.length :, self.pad].double().sum(1)
        there = log_probs[:, : self.length]
        others = torch.cat([there[..., : self.pad], there[..., self.pad + 1 :]], dim=-1)
        return ended + others.logsumexp(-1).double().sum(1)


@dataclass(frozen=True, eq=False)
class Pattern:
    """log p(the text begins with symbols of these sets) = sum_i log sum_{w in set i} p(x^i = w).

    allowed: booleans (places, vocabulary); a place where all are allowed is a blank.
    """

    allowed: Tensor

    def __call__(self, log_probs: Tensor) -> Tensor:
        allowed = self.allowed.to(log_probs.device)
        first = log_probs[:, : len(allowed)].masked_fill(~allowed, -torch.inf)
        return first.logsumexp(-1).double().sum(1)
