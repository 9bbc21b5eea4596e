"""Regression: tell the one condition of an item from the item itself, clean or noisy."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from undiffuse.core.families import VALUES
from undiffuse.core.item_predictor import ItemPredictor
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class Regression(Timed):
    """loss = mean((model(x_t, t) - y)^2) of standardised numbers y (batch, d), or of classes -log p(y) in nats.

    noisy: x_t drawn from q(x_t given x_0) at the times t, so that the run reads noisy items as well; else x_t = x_0 and
    t = 0, whatever the times.
    """

    families: ClassVar[frozenset[str]] = VALUES
    trains: ClassVar[type] = ItemPredictor
    predicts: ClassVar[str] = "item"

    times: TimeDistribution = field(default_factory=Uniform)
    noisy: bool = False

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        (target,) = batch.cond.values()
        t = t if self.noisy else torch.zeros_like(t)
        found = model(model.process.marginal(batch.x, t).sample(random) if self.noisy else batch.x, t)
        if target.is_floating_point():
            return (found - target).square().mean(1)
        return cross_entropy(found, target.long(), reduction="none")
