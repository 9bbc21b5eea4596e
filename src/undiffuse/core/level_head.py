"""What an autoregressive network's outputs mean: the interface of a head, a distribution over even levels."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class LevelHead(ABC):
    """P(level) of each value by `outputs` numbers. levels: how many there are, evenly from -1 to 1. ordered: whether it
    takes neighbouring ones for alike, so that symbols without an order are not for it.

    x: values (batch, channels, *places) in [-1, 1]; places of them among the levels, int64. A head may let a value
    depend on the channels before it at its place.
    """

    levels: int
    outputs: int
    ordered: ClassVar[bool] = True

    @abstractmethod
    def log_prob(self, outputs: Tensor, x: Tensor, places: Tensor) -> Tensor:
        """log P of each value in nats, (batch, channels, *places); outputs: (batch, channels, outputs, *places)."""

    @abstractmethod
    def all_log_probs(self, outputs: Tensor, x: Tensor, channel: int) -> Tensor:
        """log P of every level of one channel at one place, (batch, levels); outputs: (batch, outputs), x: (batch,
        channels), of which those before the channel count.
        """
