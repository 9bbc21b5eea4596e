"""Variational: the bound on the log-likelihood itself, one of its terms at a time."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.families import VALUES
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.core.reverse import VARIANCES, Variance
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.drawn_term import bound, decoder, steps
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class Variational(Timed):
    """loss = T L_t in bits per dimension, L_t the bound's term at a step drawn from T: its mean is the bound (L_vlb).

    variance: of p, as in `Ancestral`: "learned" trains a learned range (denoiser.variance = "learned_range").
    times: how the steps are drawn; "importance" has the least noise (arXiv:2102.09672, sec. 3.3).
    levels, low, high: of data on even levels, 256 from -1 to 1 for pixels, which the last step then gives probability;
    levels 0: values with a density. Raises Refused for a schedule without steps, for data outside the levels.
    Source: arXiv:2006.11239, eq. 5; arXiv:2102.09672, eq. 4 to 8.
    """

    families: ClassVar[frozenset[str]] = VALUES

    variance: Variance = "learned"
    times: TimeDistribution = field(default_factory=Uniform)
    levels: int = 0
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.variance not in VARIANCES:
            raise Refused(f"variational has no variance {self.variance!r}; it has: {', '.join(VARIANCES)}")

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,), or the table's next noisier ones: (batch,)."""
        process, x_0 = model.process, batch.x
        t = steps(process.schedule, t, "variational")
        levels = decoder(self.levels, self.low, self.high, x_0)
        x_t = process.marginal(x_0, t).sample(random)
        return bound(process, x_0, x_t, model(x_t, t, **batch.cond), t, self.variance, levels)
