"""Hybrid: denoising teaches the mean, and a little of the bound teaches the variance."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.families import VALUES
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.denoising import Denoising
from undiffuse.objectives.drawn_term import bound, decoder, steps
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class Hybrid(Timed):
    """loss = |noise - its guess|^2 / d + weight T L_t, the bound's term L_t at the same step with the mean held fast.

    So the gradient of the mean is denoising's alone, and that of the learned range the bound's alone.
    weight: of the whole bound in bits per dimension, the unit in which 0.001 was found: at T = 1000 that is one L_t, as
    code has it that adds L_t unscaled, which at another T is another weight.
    times, levels, low, high: see `Variational`. Needs denoiser.variance = "learned_range".
    Source: arXiv:2102.09672, eq. 16 and sec. 3.1. Raises Refused as `Variational`, and for a weight below 0.
    """

    families: ClassVar[frozenset[str]] = VALUES

    weight: float = 0.001
    times: TimeDistribution = field(default_factory=Uniform)
    levels: int = 0
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise Refused(f"hybrid needs a weight of 0 or more, not {self.weight:g}")

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,), or the table's next noisier ones: (batch,)."""
        process, x_0 = model.process, batch.x
        t = steps(process.schedule, t, "hybrid")
        levels = decoder(self.levels, self.low, self.high, x_0)
        x_t = process.marginal(x_0, t).sample(random)
        guess = model(x_t, t, **batch.cond)
        fixed = replace(guess, mean=guess.mean.detach())
        rest = bound(process, x_0, x_t, fixed, t, "learned", levels)
        return Denoising("noise").of(guess, x_0, process.schedule, t) + (self.weight * rest).to(x_0.dtype)
