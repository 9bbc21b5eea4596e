"""A softmax over the levels: any distribution."""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.level_head import LevelHead

MOST = 1024  # levels
INSTEAD = "head.name = 'logistic_mixture' takes any number"


class Softmax(LevelHead):
    """P(level k) = softmax(outputs)_k; with 2 levels it is a Bernoulli one.

    levels: given by the data. Raises Refused for more than 1,024.
    """

    ordered: ClassVar[bool] = False

    def __init__(self, levels: int = 2) -> None:
        if levels > MOST:
            raise Refused(f"softmax gives one number a level, of {MOST:,} at most, not {levels:,}: {INSTEAD}")
        self.levels = self.outputs = levels

    def log_prob(self, outputs: Tensor, x: Tensor, places: Tensor) -> Tensor:
        return -F.cross_entropy(outputs.transpose(1, 2), places, reduction="none")

    def all_log_probs(self, outputs: Tensor, x: Tensor, channel: int) -> Tensor:
        return outputs.log_softmax(1)
