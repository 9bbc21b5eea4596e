"""Elbo: the bound on the log-probability of tokens itself, one of its steps or moments at a time."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.continuous_time_bound import rate
from undiffuse.core.distribution.distribution import counted
from undiffuse.core.errors import Refused
from undiffuse.core.named_parts import elements
from undiffuse.core.objective import Batch
from undiffuse.core.process.product import apart, masks
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class Elbo(Timed):
    """loss = T KL(q(x_s given x_t, x_0) || p(x_s given x_t)) + cross_entropy (-log p(x_0 given x_t)),  bits a token.

    On a schedule of T steps s = t - 1/T; without steps T is infinite, and the first term the rate of `rates.rate`: its
    mean over t is the bound, but for the prior's term, in which nothing is learned.
    cross_entropy: D3PM's hybrid. The paper's lambda stands beside one step, not T of them, so it is T lambda here; its
    cross-entropy is of p~, this one of the belief p(x_0 given x_t), which has the bound's own minimum (docs/tokens.md).
    Of a `Product` of tokens it is that of all parts together; of items of different sizes padding counts for nothing.
    times: how t is drawn; "importance" has the least noise, "stratified" is low-discrepancy (antithetic).
    Source: arXiv:2107.03006, eq. 1 and 5; arXiv:2406.07524, eq. 10. Raises Refused for a weight below 0 and values.
    """

    families: ClassVar[frozenset[str]] = frozenset({"tokens", "mixed"})
    masks: ClassVar[bool] = True

    cross_entropy: float = 0.0
    times: TimeDistribution = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        if not self.cross_entropy >= 0:
            raise Refused(f"elbo needs a weight of cross_entropy of 0 or more, not {self.cross_entropy:g}")

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,), or the table's next noisier ones: (batch,)."""
        process, x_0 = model.process, model.state_of(batch.x)
        if any(x.is_floating_point() for _, x in apart(process, x_0)):
            raise Refused("elbo is the bound of tokens; that of values is trained by variational")
        steps = process.schedule.steps
        t = process.schedule.step(t).clamp(min=1).double() / steps if steps else t
        x_t = process.marginal(x_0, t).sample(random)
        parts = apart(process, x_0, x_t, model(x_t, t, **batch.given), masks(process, batch.mask))
        nats = [self._nats(each, x, noisy, guess, mask, t, steps) for each, x, noisy, guess, mask in parts]
        total = sum(nats[1:], start=nats[0])
        if batch.mask is None:
            return total / (math.log(2) * elements(x_0))
        return total / (math.log(2) * counted(x_0, batch.mask))

    def _nats(
        self, process: Any, x_0: Tensor, x_t: Tensor, guess: Any, mask: Tensor | None, t: Tensor, steps: int
    ) -> Tensor:
        """The loss of one part in nats, (batch,)."""
        if steps:
            before = ((t * steps).round() - 1) / steps  # exactly 0 at the last step
            true = process.bridge(x_t, process.point(x_0), before, t)
            true = true if mask is None else true.masked(mask)
            nats = steps * true.kl(process.bridge(x_t, guess, before, t))
        else:
            nats = rate(process, x_0, x_t, guess, t, mask)
        if self.cross_entropy:
            nats = nats + self.cross_entropy * (guess if mask is None else guess.masked(mask)).error(x_0)
        return nats
