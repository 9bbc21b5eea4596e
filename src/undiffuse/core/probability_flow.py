"""The probability-flow ODE of any Gaussian schedule, as a rotation from data to noise."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.broadcast import factor
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.schedule import Schedule


def velocity(
    denoiser: Denoiser, y: Tensor, u: Tensor, cond: Mapping[str, Any], low: float = 0.0, high: float = 1.0
) -> Tensor:
    """dy/du = cos(u) noise - sin(u) guess  for y = x_t / sqrt(alpha^2 + sigma^2) and the angle u = atan(sigma / alpha).

    It is of unit size from data (u = 0) to pure noise, also where alpha is 0 or sigma 80. u: one a sample, (batch,), in
    float64; low, high: times between which the guess is asked for. In y's shape.
    Source: arXiv:2011.13456, eq. 13; with angles arXiv:2202.00512, app. D.
    """
    schedule: Schedule = denoiser.process.schedule
    t = time_of(schedule, u).clamp(low, high)
    guess: Any = denoiser(y * factor(radius(schedule, t), y), t, **cond)
    cos, sin = factor(u.cos(), y), factor(u.sin(), y)
    return cos * (y - cos * guess.mean) / sin - sin * guess.mean


def time_of(schedule: Schedule, u: Tensor) -> Tensor:
    """The time at which the angle is u."""
    return schedule.time(-2 * u.tan().log())


def angle(schedule: Schedule, t: Tensor) -> float:
    """atan(sigma / alpha) at one time."""
    return float(torch.atan2(schedule.sigma(t), schedule.alpha(t)))


def radius(schedule: Schedule, t: Tensor) -> Tensor:
    """sqrt(alpha^2 + sigma^2), of t's shape."""
    return torch.hypot(schedule.alpha(t), schedule.sigma(t))
