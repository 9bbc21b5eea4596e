"""A module that says how likely encoded items are: what maximum likelihood trains."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from undiffuse.core.random import Random


class DensityModel(nn.Module, ABC):
    """log p(x given conditions), or a bound on it from below.

    exact: whether `log_prob` is the log-likelihood itself; else its mean over the draws is a bound. network: what is
    trained, alone, for compiling it.
    """

    exact: ClassVar[bool]
    network: Any

    @abstractmethod
    def log_prob(self, x: Tensor, random: Random, **cond: Any) -> Tensor:
        """log P(x) in nats, (batch,), of encoded items x (batch, *shape): the probability of their levels.

        random: the draws that a bound needs; an item's depend on its index alone.
        """
