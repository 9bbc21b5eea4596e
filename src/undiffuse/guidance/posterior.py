"""The guess given a measurement, from a linear solve with some covariance of x_0 given x_t."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.broadcast import column
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.guidance.gradient import moved, refuse_tokens, tilt
from undiffuse.guidance.measurement import Measurement
from undiffuse.guidance.wrapping import Guided

Map = Callable[[Tensor], Tensor]


class Posterior(Guided, ABC):
    """guess + sigma^2/alpha J' A' (A C A' + std^2)^-1 (y - A guess),  J = d guess / d x_t.

    The score of p(y given x_t) ~ N(A guess, A C A' + std^2) for a linear operator A; another operator is taken by its
    slope at the guess. The subclass says what C, the covariance of x_0 given x_t, is. The linear system is solved by
    `iterations` of conjugate gradients (fewer where it converges), each of one A C A'.
    """

    denoiser: Denoiser
    measurement: Measurement
    iterations: int

    @abstractmethod
    def covariance(self, jacobian: Map, t: Tensor | float, like: Tensor) -> Map:
        """v -> C v; jacobian: v -> sigma^2/alpha J' v, which is Cov(x_0 given x_t) for the exact denoiser."""

    def no_density(self) -> str:
        return "a guess given a measurement belongs to the approximate posterior, which has no density of its own"

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        refuse_tokens(x_t, "a measurement")
        scale = tilt(self.process, t, x_t)
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            belief: Any = self.denoiser(x, t, **cond)
            mean: Tensor = belief.mean

        def jacobian(v: Tensor) -> Tensor:
            return scale * torch.autograd.grad(mean, x, v, retain_graph=True)[0]

        with torch.no_grad():
            guess = mean.detach()
            forward, adjoint = self.measurement.linear(guess)
            covariance = self.covariance(jacobian, t, x_t)

            def system(u: Tensor) -> Tensor:
                return forward(covariance(adjoint(u))) + self.measurement.std**2 * u

            solved = conjugate_gradients(system, self.measurement.residual(guess), self.iterations)
            return moved(belief, jacobian(adjoint(solved)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise Refused(f"conjugate gradients need at least 1 iteration, not {self.iterations}")


def conjugate_gradients(system: Map, b: Tensor, iterations: int) -> Tensor:
    """system(u) = b for each sample of b (batch, ...), system symmetric and not negative.

    A sample whose residual has fallen to rounding, or whose system is 0, keeps what it has.
    """
    u, r = torch.zeros_like(b), b
    p, power = r, _power(r)
    enough = torch.finfo(b.dtype).eps ** 2 * power
    for done in range(iterations):
        if done and not bool((power > enough).any()):  # the host waits, and spares a derivative of the network
            break
        q = system(p)
        curvature = (p * q).flatten(1).sum(1)
        active = (power > enough) & (curvature > 0)
        step = column(torch.where(active, power / torch.where(active, curvature, 1.0), 0.0), b)
        u, r = u + step * p, r - step * q
        before, power = power, torch.where(active, _power(r), 0.0)
        p = r + column(torch.where(before > 0, power / before.clamp(min=torch.finfo(b.dtype).tiny), 0.0), b) * p
    return u


def _power(r: Tensor) -> Tensor:
    return r.flatten(1).square().sum(1)
