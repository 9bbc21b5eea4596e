"""Diffusion-LM: embeddings and the network that guesses them are trained together, and rounding keeps them apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.families import VALUES
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class DiffusionLM(Timed):
    """loss = |target - guess(x_t)|^2 / d + |alpha(1) x_0|^2 / d + cross_entropy (-log p(w given x_0)),  d the numbers
    of a sample, x_0 = Emb(w) + sigma_0 noise, target = x_0 and at the table's first step Emb(w).

    The second term is the mean of q(x_1), and the last the rounding's cross-entropy, the mean over tokens: without it
    the embeddings shrink to a point, where the first term is 0. times: how t is drawn, then taken up to the table's
    next step. Needs denoiser.embedding. Raises Refused without it, and for a weight below 0.
    Source: arXiv:2205.14217, eq. 2 and sec. 4.2, and the released code for the means.
    """

    families: ClassVar[frozenset[str]] = VALUES
    embeds: ClassVar[bool] = True  # tokens that the denoiser has a table of embeddings for

    cross_entropy: float = 1.0
    times: TimeDistribution = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        if not self.cross_entropy >= 0:
            raise Refused(f"diffusion_lm needs a weight of cross_entropy of 0 or more, not {self.cross_entropy:g}")

    def signs(self, model: Any) -> dict[str, float]:
        """How far apart the embeddings are."""
        return model.embeddings.signs()

    def trouble(self, model: Any, signs: Mapping[str, float]) -> str:
        """That the embeddings have collapsed, if they have."""
        return model.embeddings.trouble(signs)

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,), or the table's next noisier ones: (batch,)."""
        table = model.embeddings
        if table is None:
            raise Refused("diffusion_lm trains a table of embeddings: set denoiser.embedding, as 16")
        process, x_0 = model.process, batch.x
        n = process.schedule.steps
        t = process.schedule.step(t).clamp(min=1).double() / n
        begun = table.begun(x_0, random.fold(0))
        guess = model(process.marginal(begun, t).sample(random.fold(1)), t, **batch.cond)
        first = (t * n).round() == 1
        target = torch.where(first.to(begun.device)[:, None, None], model.state_of(x_0), begun)
        end = process.marginal(begun, 1.0).mean
        loss = (guess.mean - target).square().flatten(1).mean(1) + end.square().flatten(1).mean(1)
        if not self.cross_entropy:
            return loss
        logits = table.logits(begun).float()
        surprise = F.cross_entropy(logits.flatten(0, 1), x_0.flatten(), reduction="none").view_as(x_0)
        return loss + self.cross_entropy * surprise.mean(1)
