"""Regression: tell the one condition of an item from the item itself, clean or noisy."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from undiffuse.core.errors import Refused
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

    folds: so many networks side by side, whose mean is told; each leaves out a quarter of the items, so that what is
    told of training items can be what is told of new ones, see `FoldedPredictor`. 1: one network that learns from all.
    The loss is the mean over the members that learn from an item.

    noisy: x_t drawn from q(x_t given x_0) at the times t, so that the run reads noisy items as well; else x_t = x_0 and
    t = 0, whatever the times.
    """

    families: ClassVar[frozenset[str]] = VALUES
    trains: ClassVar[type] = ItemPredictor
    predicts: ClassVar[str] = "item"

    times: TimeDistribution = field(default_factory=Uniform)
    noisy: bool = False
    folds: int = 1

    def __post_init__(self) -> None:
        if self.folds < 1:
            raise Refused(f"regression needs folds of at least 1, not {self.folds}")

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        (target,) = batch.cond.values()
        t = t if self.noisy else torch.zeros_like(t)
        found = model.each(model.process.marginal(batch.x, t).sample(random) if self.noisy else batch.x, t)
        learns = model.learns(batch.x)
        if target.is_floating_point():
            losses = (found - target).square().mean(2)
        else:
            each = target.long().expand(len(found), -1)
            losses = cross_entropy(found.flatten(0, 1), each.flatten(), reduction="none").view_as(each)
        return (losses * learns).sum(0) / learns.sum(0)
