"""NCSN: denoising score matching over the noise levels of a ladder, as NCSN trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class NCSNObjective:
    """loss = sigma^power / 2 |score(x_t) + noise/sigma|^2 / d,  t uniform on the ladder's levels.

    power: 2 makes every level weigh the same for data that is much smaller or larger than the noise (the paper's).
    The minimum of a level is (1 - Gamma) / 2, Gamma = sigma^2 E|score|^2 / d, at the score of the smoothed data.
    Raises Refused for a schedule without levels. Source: arXiv:1907.05600, eq. 5 and 6 (a sum over pixels there).
    """

    power: float = 2.0

    def __call__(self, denoiser: Denoiser, x_0: Tensor, random: Random, cond: Mapping[str, Any]) -> Tensor:
        """The loss of each sample, (batch,)."""
        schedule = denoiser.process.schedule
        if not schedule.steps:
            raise Refused(
                f"ncsn trains on a schedule of levels, like geometric; {registry.name_of(schedule)} is continuous: "
                "use denoising"
            )
        t = Uniform()(schedule, random.fold(0), len(x_0))
        return self.at(t, denoiser, x_0, random.fold(1), cond)

    def at(self, t: Tensor, denoiser: Denoiser, x_0: Tensor, random: Random, cond: Mapping[str, Any]) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        process: Any = denoiser.process
        x_t = process.marginal(x_0, t).sample(random)
        guess: Any = denoiser(x_t, t, **cond)
        _, sigma = process.schedule.at(t, x_0)
        error = process.score(x_t, guess, t) - process.score(x_t, process.point(x_0), t)
        return 0.5 * ((sigma ** (self.power / 2)).to(error) * error).square().flatten(1).mean(1)
