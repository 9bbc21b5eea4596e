"""A table of sequences over three symbols and a mask, small enough to be enumerated."""

import torch
from scipy import stats
from torch import Tensor

from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.oracles import TokenOracle
from undiffuse.core.process.categorical import Categorical, mask
from undiffuse.core.random import Random
from undiffuse.schedules import LogLinear

SYMBOLS, LENGTH = 3, 3
SEQUENCES = torch.cartesian_prod(*[torch.arange(SYMBOLS)] * LENGTH)  # (27, 3)
MASKED = Categorical(LogLinear(floor=0.0), mask(SYMBOLS + 1))


def chances(seed: int = 0) -> Tensor:
    """Correlated chances of all sequences, (27,)."""
    free = Random(seed).normal((27,), dtype=torch.float64)
    same = (SEQUENCES[:, 0] == SEQUENCES[:, 2]).double() + (SEQUENCES[:, 1] == SEQUENCES[:, 2]).double()
    return (0.7 * free + 1.5 * same).softmax(0)


def oracle(process: Categorical = MASKED, seed: int = 0) -> TokenOracle:
    return TokenOracle(process, SEQUENCES, chances(seed))


def counts(x: Tensor) -> Tensor:
    """How often each sequence was drawn, (27,)."""
    return torch.bincount((x * torch.tensor([9, 3, 1])).sum(1), minlength=27).double()


def distance(x: Tensor, law: Tensor) -> float:
    """The total variation between draws and a law."""
    return float((counts(x) / len(x) - law).abs().sum() / 2)


def agree(x: Tensor, law: Tensor) -> bool:
    """Whether draws may come from a law: chi-square, p above 0.001, and none that is impossible."""
    found, possible = counts(x), law > 0
    if found[~possible].sum() > 0:
        return False
    return bool(stats.chisquare(found[possible].numpy(), (law[possible] * len(x)).numpy()).pvalue > 1e-3)


def tokens(probs: Tensor) -> Tokens:
    return Tokens(probs.log())
