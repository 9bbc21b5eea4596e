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
from undiffuse.core.ode import UnsolvedError, solve
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


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
    aliases: ClassVar[tuple[str, ...]] = ("ode", "pf_ode", "probability_flow_ode", "dopri5", "rk45")
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
        process: Any = denoiser.process
        lands = float(process.schedule.sigma(s)) == 0
        start, stop = _angle(process, t), (_lowest(process, self.end) if lands else _angle(process, s))
        x = x_t / _radius(process, t)
        if stop < start:
            x = self._solve(_Flow(denoiser, cond), x, start, stop)
        else:  # less noise than `end` is left already
            stop = start
        if not lands:
            return Normal(x * _radius(process, s), 0.0), None
        last = _time(process, torch.tensor(stop, dtype=torch.float64))
        return denoiser(x * _radius(process, last), last, **cond).mean_only(), None

    def _solve(self, slope: "_Flow", y: Tensor, start: float, stop: float) -> Tensor:
        """y at the angle `stop`, from y at `start`."""
        try:
            return solve(slope, y, start, stop, rtol=self.rtol, atol=self.atol, most=self.most, stay=True)
        except UnsolvedError:
            raise Refused(
                f"probability_flow did not reach its end within {self.most} inner steps: the guess is too rough for "
                f"rtol = {self.rtol:g} and atol = {self.atol:g}; raise them, or `most`"
            ) from None


@dataclass(frozen=True)
class _Flow:
    """dy/du at an angle for each sample."""

    denoiser: Denoiser
    cond: dict[str, Any]

    def __call__(self, y: Tensor, u: Tensor, rows: Tensor) -> Tensor:
        process: Any = self.denoiser.process
        t = _time(process, u)
        guess: Any = self.denoiser(y * _wide(_radius(process, t), y), t, **self.cond).mean
        cos, sin = _wide(u.cos(), y), _wide(u.sin(), y)
        return cos * (y - cos * guess) / sin - sin * guess


def _time(process: Any, u: Tensor) -> Tensor:
    return process.schedule.time(-2 * u.tan().log())


def _angle(process: Any, t: Tensor) -> float:
    return float(torch.atan2(process.schedule.sigma(t), process.schedule.alpha(t)))


def _lowest(process: Any, end: float) -> float:
    """The angle of sigma/alpha = end, or of the schedule's lowest noise where that is above."""
    near = torch.tensor(1e-12, dtype=torch.float64)
    return max(math.atan(end), _angle(process, near))


def _radius(process: Any, t: Tensor) -> Tensor:
    return torch.hypot(process.schedule.alpha(t), process.schedule.sigma(t))


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """One number a sample, shaped to multiply `like`."""
    return values.to(like.device, like.dtype).reshape(-1, *(1,) * (like.ndim - 1))
