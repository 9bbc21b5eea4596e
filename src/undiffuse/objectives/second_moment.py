"""Second moment: teaches a denoiser how far the data lies from its guess, element by element."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.families import VALUES
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.denoising import Denoising
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class SecondMoment(Timed):
    """loss = |h - noise^2|^2 / d + mean |noise - its guess|^2 / d,  h = SNR var + (noise guess)^2, the guess held fast.

    The best h is E[noise^2 given x_t], so that var is Var(x_0 given x_t) of each element, which the variance "exact"
    of samplers and bounds averages over. mean: weight of denoising, which teaches the guess itself; 0: nothing does.
    Needs denoiser.variance = "second_moment". times: how the noise levels are drawn.
    Source: arXiv:2206.07309, sec. 4.1 (there a head on a network trained before). Raises Refused for a mean below 0.
    """

    families: ClassVar[frozenset[str]] = VALUES

    mean: float = 1.0
    times: TimeDistribution = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        if not self.mean >= 0:
            raise Refused(f"second_moment needs a mean of 0 or more, the weight of denoising, not {self.mean:g}")

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        process, x_0 = model.process, batch.x
        x_t = process.marginal(x_0, t).sample(random)
        guess = model(x_t, t, **batch.cond)
        if not guess.reported:
            raise Refused(
                'second_moment trains a denoiser that reports its variance: set denoiser.variance = "second_moment"'
            )
        alpha, sigma = process.schedule.at(t, x_0)
        snr = ((alpha / sigma) ** 2).to(x_t)
        noise, told = process.noise(x_t, process.point(x_0), t), process.noise(x_t, guess, t).detach()
        error = (snr * guess.var + told**2 - noise**2).square().flatten(1).mean(1)
        return error + self.mean * Denoising("noise").of(guess, x_0, process.schedule, t)
