"""Probability flow: the ordinary differential equation to a tolerance, each sample with steps of its own."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.ode import Slope, UnsolvedError, solve
from undiffuse.core.probability_flow import angle, radius, time_of, velocity
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True)
class ProbabilityFlow(Sampler):
    """dx/dt = alpha'(t) guess + sigma'(t) noise(x, guess), by Dormand and Prince's orders 5 and 4 to a tolerance.

    Solved in the angle u = atan(sigma/alpha) for y = x / sqrt(alpha^2 + sigma^2):  dy/du = cos(u) noise - sin(u) guess,
    smooth from pure noise (u = pi/2, alpha = 0) to data. On the way to sigma = 0 it stops at sigma/alpha = `end` and
    takes the guess there. One step over all times is enough; a grid of more shows the states between.
    rtol, atol: the error of one inner step, root mean square over a sample's elements, is kept below
    atol + rtol |y|. Every sample has its own inner steps, so it does not depend on the batch that it is drawn in;
    `most` bounds their number. Source: arXiv:2011.13456, eq. 13 and app. D.4 (rtol = atol = 1e-5).
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    end: float = 1e-3
    most: int = 10_000

    masks: ClassVar[bool] = False
    aliases: ClassVar[tuple[str, ...]] = (
        "ode",
        "pf_ode",
        "probability_flow_ode",
        "dopri5",
        "rk45",
        "adaptive",
        "dpm_adaptive",
        "k_dpm_adaptive",
    )
    grid: ClassVar[str] = "even"
    default_steps: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not (self.rtol >= 0 and self.atol > 0 and 0 < self.end < math.inf and self.most >= 1):
            raise Refused(
                "probability_flow needs rtol >= 0, atol > 0, end > 0 and most >= 1, "
                f"not {self.rtol:g}, {self.atol:g}, {self.end:g} and {self.most}"
            )

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        schedule: Schedule = denoiser.process.schedule
        lands = float(schedule.sigma(s)) == 0
        start, stop = angle(schedule, t), (_lowest(schedule, self.end) if lands else angle(schedule, s))
        x = x_t / radius(schedule, t)
        if stop < start:
            x = self._solve(lambda y, u, rows: velocity(denoiser, y, u, cond), x, start, stop)
        else:  # less noise than `end` is left already
            stop = start
        if not lands:
            return Normal(x * radius(schedule, s), 0.0), None
        last = time_of(schedule, torch.tensor(stop, dtype=torch.float64))
        return denoiser(x * radius(schedule, last), last, **cond).mean_only(), None

    def _solve(self, slope: Slope, y: Tensor, start: float, stop: float) -> Tensor:
        """y at the angle `stop`, from y at `start`."""
        try:
            return solve(slope, y, start, stop, rtol=self.rtol, atol=self.atol, most=self.most, stay=True)
        except UnsolvedError:
            raise Refused(
                f"probability_flow did not reach its end within {self.most} inner steps: the guess is too rough for "
                f"rtol = {self.rtol:g} and atol = {self.atol:g}; raise them, or `most`"
            ) from None


def _lowest(schedule: Schedule, end: float) -> float:
    """The angle of sigma/alpha = end, or of the schedule's lowest noise where that is above."""
    return max(math.atan(end), angle(schedule, torch.tensor(1e-12, dtype=torch.float64)))
