"""Maximum likelihood: the negative log-probability of the data, or a bound on it."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from undiffuse.core.density import DensityModel
from undiffuse.core.objective import RUN, Batch, Objective
from undiffuse.core.random import Random


@dataclass(frozen=True)
class MaximumLikelihood(Objective):
    """loss = -log P(x given conditions) / d in nats, d the numbers of an item; 1.4427 of it are the bits per dimension.

    Of an autoregressive model it is the cross-entropy of all values at once, of a normalizing flow the bound by data
    that are spread over their levels.
    """

    predicts: ClassVar[str] = "likelihood"
    trains: ClassVar[type] = DensityModel

    def loss(self, model: DensityModel, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        found = -model.log_prob(batch.x, random, **batch.cond) / batch.x[0].numel()
        return found.float()
