"""Score entropy: the ratios p_t(y)/p_t(x_t) of a token process, learned as scores of values are."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.continuous_time_bound import END, falling
from undiffuse.core.families import KEEP, TOKENS
from undiffuse.core.heads.ratios import ratios
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class ScoreEntropy(Timed):
    """loss = -alpha'/alpha sum_{y != x_t} noise(x_t) (s(y) - r(y) log s(y) + r(y) (log r(y) - 1)),  nats a token.

    s: the ratios of the guess, r: those of x_0, see `ratios.ratios`. With the constant r (log r - 1) this is the bound
    in continuous time of any noise vector, the same as elbo's without steps; of a mask it is the cross-entropy weighted
    by "unmasking". Every symbol is written out: for large vocabularies take denoising or elbo.
    times: how t is drawn. Source: arXiv:2310.16834, eq. 5 and 9. Raises Refused for matrices, which have steps alone.
    """

    families: ClassVar[frozenset[str]] = TOKENS
    needs: ClassVar[frozenset[str]] = KEEP

    times: TimeDistribution = field(default_factory=Uniform)

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        process, x_0 = model.process, batch.x
        x_t = process.marginal(x_0, t).sample(random)
        guess = model(x_t, t, **batch.cond)
        t = t.clamp(max=END)
        told, true = (ratios(process, x_t, belief, t) for belief in (guess, process.point(x_0)))
        noise = torch.tensor(process.noise, dtype=torch.float64, device=x_t.device)
        possible = true > 0
        score = torch.where(possible, told, 1.0).log() - torch.where(possible, true, 1.0).log() + 1
        entropy = told - torch.where(possible, true * score, 0.0)
        own = torch.nn.functional.one_hot(x_t, process.vocabulary).bool()
        alpha, _ = process.chances(t, x_t)
        pace = falling(process.schedule, t, x_t) / alpha * noise[x_t]
        return (pace * entropy.masked_fill(own, 0.0).sum(-1)).flatten(1).sum(1) / x_0[0].numel()
