"""NCSN: denoising score matching over the noise levels of a ladder, as NCSN trains."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.families import VALUES
from undiffuse.core.objective import RUN, Batch
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class NCSNObjective(Timed):
    """loss = sigma^power / 2 |score(x_t) + noise/sigma|^2 / d,  t one of the ladder's levels.

    power: 2 makes every level weigh the same for data that is much smaller or larger than the noise (the paper's).
    times: how the levels are drawn. The minimum of a level is (1 - Gamma) / 2, Gamma = sigma^2 E|score|^2 / d, at the
    score of the smoothed data.
    Raises Refused for a schedule without levels. Source: arXiv:1907.05600, eq. 5 and 6 (a sum over pixels there).
    """

    families: ClassVar[frozenset[str]] = VALUES

    power: float = 2.0
    times: TimeDistribution = field(default_factory=Uniform)

    def loss(self, model: Any, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        """The loss of each sample, (batch,)."""
        schedule = model.process.schedule
        if not schedule.steps:
            raise Refused(
                f"ncsn trains on a schedule of levels, like geometric; {registry.name_of(schedule)} is continuous: "
                "use denoising"
            )
        return super().loss(model, batch, random, step, player)

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        process, x_0 = model.process, batch.x
        x_t = process.marginal(x_0, t).sample(random)
        guess = model(x_t, t, **batch.cond)
        _, sigma = process.schedule.at(t, x_0)
        error = process.score(x_t, guess, t) - process.score(x_t, process.point(x_0), t)
        return 0.5 * ((sigma ** (self.power / 2)).to(error) * error).square().flatten(1).mean(1)
