"""The contrastive loss of pairs: of all texts of a batch the item's own is the nearest, and the other way around."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from undiffuse.core.families import VALUES
from undiffuse.core.image_text_pair import ImageTextPair
from undiffuse.core.objective import Batch, Objective
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class Contrastive(Timed):
    """loss_i = (-log softmax(logits[i, :])_i - log softmax(logits[:, i])_i) / 2 in nats, logits of all items and texts.

    noisy: items x_t drawn from q(x_t given x_0) at the times t, so that the pair of encoders reads noisy items as well;
    else x_t = x_0 and t = 0, whatever the times.
    Source: arXiv:2103.00020, fig. 3; arXiv:2112.10741, sec. 2.4 (noisy items).
    """

    whole_batch: ClassVar[bool] = True
    families: ClassVar[frozenset[str]] = VALUES
    trains: ClassVar[type] = ImageTextPair
    predicts: ClassVar[str] = "pair"

    times: TimeDistribution = field(default_factory=Uniform)
    noisy: bool = False

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each pair at given times t (batch,): (batch,)."""
        logits = self.logits(t, model, batch, random)
        own = torch.arange(len(logits), device=logits.device)
        rows, columns = (cross_entropy(each, own, reduction="none") for each in (logits, logits.mT))
        return (rows + columns) / 2

    def logits(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """How well each item at the times t (batch,) and each text go together: (batch, batch)."""
        (text,) = (value for name, value in batch.cond.items() if name != "drop")
        t = t if self.noisy else torch.zeros_like(t)
        return model.logits(model.process.marginal(batch.x, t).sample(random) if self.noisy else batch.x, t, text)

    @property
    def beside(self) -> Mapping[str, Objective]:
        """What validation measures besides the loss, by name."""
        return {"own text nearest": Nearest(self.times, self.noisy)}


@dataclass(frozen=True)
class Nearest(Contrastive):
    """1 where of all texts of the batch the item's own is the nearest, else 0."""

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """1 or 0 for each pair at given times t (batch,): (batch,)."""
        logits = self.logits(t, model, batch, random)
        return (logits.argmax(1) == torch.arange(len(logits), device=logits.device)).float()
