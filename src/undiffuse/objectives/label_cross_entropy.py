"""Cross-entropy of the label: noise the data, tell its class; what a classifier for guidance is trained on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.families import VALUES
from undiffuse.core.noisy_classifier import NoisyClassifier
from undiffuse.core.objective import Batch, Objective
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class LabelCrossEntropy(Timed):
    """loss = -log p(label given x_t) in nats, with x_t drawn from q(x_t given x_0); it trains a `NoisyClassifier`.

    times: how the noise levels are drawn; "log_uniform" or a wide "log_normal" reach those where the sampler starts.
    Source: arXiv:2105.05233, sec. 4.
    """

    families: ClassVar[frozenset[str]] = VALUES
    trains: ClassVar[type] = NoisyClassifier
    predicts: ClassVar[str] = "label"

    times: TimeDistribution = field(default_factory=Uniform)

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        x_t = model.process.marginal(batch.x, t).sample(random)
        return -model(x_t, t, label=batch.cond["label"])

    @property
    def beside(self) -> Mapping[str, Objective]:
        """What validation measures besides the loss, by name."""
        return {"accuracy": Accuracy(self.times)}


@dataclass(frozen=True)
class Accuracy(Timed):
    """1 where the likeliest class given x_t is the label, else 0, as `LabelCrossEntropy` draws x_t."""

    times: TimeDistribution = field(default_factory=Uniform)

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """1 or 0 for each sample at given times t (batch,): (batch,)."""
        x_t = model.process.marginal(batch.x, t).sample(random)
        return (model.log_probs(x_t, t).argmax(1) == batch.cond["label"]).float()
