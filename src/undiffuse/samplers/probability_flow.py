"""Probability flow: the ordinary differential equation to a tolerance, each sample with steps of its own."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution import Distribution, Normal
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.core.times import Even, Grid
from undiffuse.samplers.churn import gaussian

# Dormand and Prince's pair of orders 5 and 4: nodes, slopes' weights, and the difference of the two results.
_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_WEIGHTS = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


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

    grid: ClassVar[Grid | None] = Even()
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
        process = gaussian(denoiser.process, "probability_flow")
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
        """y at the angle `stop`, from y at `start`; every sample has its own place u and its own length h of a step."""
        u = torch.full((len(y),), start, dtype=torch.float64)
        h = torch.full_like(u, (stop - start) / 20)
        first = slope(y, u)
        for _ in range(self.most):
            left = stop - u
            if not bool((left < 0).any()):
                return y
            h = torch.maximum(h, left)  # both are negative: never beyond the end
            slopes = [first]
            for node, weights in zip(_NODES[1:], _WEIGHTS[1:], strict=True):
                ahead = y + _wide(h, y) * _combined(weights, slopes)
                slopes.append(slope(ahead, u + node * h))
            size = self.atol + self.rtol * torch.maximum(y.abs(), ahead.abs())
            error = (_wide(h, y) * _combined(_ERROR, slopes) / size).flatten(1).double().square().mean(1).sqrt().cpu()
            good = (error <= 1) & (left < 0)
            here = good.to(y.device)
            y = torch.where(_wide(here, y, torch.bool), ahead, y)
            first = torch.where(_wide(here, y, torch.bool), slopes[-1], first)  # at the end of this step
            u = torch.where(good & (h == left), stop, torch.where(good, u + h, u))
            h = h * (0.9 * error.detach().clamp(min=1e-10) ** -0.2).clamp(0.2, 5.0)
        raise Refused(
            f"probability_flow did not reach its end within {self.most} inner steps: the guess is too rough for "
            f"rtol = {self.rtol:g} and atol = {self.atol:g}; raise them, or `most`"
        )


@dataclass(frozen=True)
class _Flow:
    """dy/du at an angle for each sample."""

    denoiser: Denoiser
    cond: dict[str, Any]

    def __call__(self, y: Tensor, u: Tensor) -> Tensor:
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


def _wide(values: Tensor, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """One number a sample, shaped to multiply `like`."""
    return values.to(like.device, dtype or like.dtype).reshape(-1, *(1,) * (like.ndim - 1))


def _combined(weights: tuple[float, ...], slopes: list[Tensor]) -> Any:
    total: Any = 0
    for weight, slope in zip(weights, slopes, strict=True):
        total = total + weight * slope if weight else total
    return total
