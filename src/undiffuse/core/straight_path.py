"""The straight path from data to noise, which every Gaussian process is after a change of its scale and its time.

z = x_t / (alpha + sigma) = (1 - tau) x_0 + tau noise,  tau = sigma / (alpha + sigma);  average velocity over [r, tau]:
u = (z_tau - z_r) / (tau - r) = (z - guess) / tau  with the guess that lands at r (arXiv:2505.13447, eq. 3).
"""

from typing import Any

import torch
from torch import Tensor

from undiffuse.core.broadcast import factor
from undiffuse.core.derivative import Method, derivative
from undiffuse.core.schedule import Schedule


def place(schedule: Schedule, t: Tensor) -> Tensor:
    """tau at t: 0 for data, 1 for pure noise."""
    alpha, sigma = schedule.both(t)
    return sigma / (alpha + sigma)


def time_of(schedule: Schedule, tau: Tensor) -> Tensor:
    """The time at which tau is this."""
    return torch.where(tau > 0, schedule.time(2 * ((1 - tau) / tau).log()), 0.0)


def velocity(denoiser: Any, x_t: Tensor, t: Tensor, to: Tensor | float | None = None, **cond: Any) -> Tensor:
    """The average velocity u from t to `to`, of x_t's shape; None: the velocity v at t."""
    alpha, sigma = denoiser.process.schedule.at(t, x_t)
    guess: Any = denoiser(x_t, t, to=to, **cond)
    return ((alpha + sigma) / sigma).to(x_t.dtype) * (x_t / (alpha + sigma).to(x_t.dtype) - guess.mean)


def velocity_rate(
    denoiser: Any, x_t: Tensor, t: Tensor, to: Tensor, v: Tensor, cond: dict[str, Any], method: Method = "forward"
) -> Tensor:
    """du/dtau on the way along v, with `to` held: the derivative of u(z, r, tau) along (v, 0, 1), of x_t's shape.

    t, to: (batch,) float64; v in x_t's shape. Without a graph.
    """
    alpha, sigma = denoiser.process.schedule.both(t)
    alpha_rate, sigma_rate = denoiser.process.rates(t, t)
    total = alpha + sigma
    pace = total**2 / (sigma_rate * alpha - sigma * alpha_rate)  # dt/dtau
    growth, scale, tau = (factor(each, x_t) for each in ((alpha_rate + sigma_rate) * pace, total, sigma / total))
    z = x_t / scale
    guess, slope = derivative(
        lambda x, at: denoiser(x, at, to=to, **cond).mean, x_t, t, growth * z + scale * v, pace.expand(len(x_t)), method
    )
    return (v - slope - (z - guess) / tau) / tau
