"""Continuous consistency: the guess stays the same along the path, by its derivative instead of a second time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.broadcast import factor
from undiffuse.core.derivative import Method, derivative
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.generators import rewind
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.consistency_student import ConsistencyStudent, check_teacher, consistency_tables, data_std
from undiffuse.objectives.guidance_weights import with_weights
from undiffuse.objectives.noisy_end import refuse_silent
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.log_normal import LogNormal


@dataclass(frozen=True, eq=False)
class ContinuousConsistency(ConsistencyStudent, Timed):
    """loss = |F - stopgrad(F + g)|^2 / d,  F = (cos u z - guess) / (data_std sin u): the network of TrigFlow.

    u = atan(sigma / (data_std alpha)) is the angle of the time, and z = x_t / sqrt(alpha^2 + (sigma / data_std)^2) the
    state on the circle, which any schedule is after a change of scale and time. With dz/du along the path and dguess/du
    the whole derivative along it,
        g = cos^2 u (dz/du - data_std F) + r (cos u dguess/du - cos^2 u (dz/du - data_std F)),   g <- g / (|g| + c).
    r rises from 0, where g is the error of diffusion, to 1 in the share `warmup` of the training; with r = 1 the loss
    has its gradient at 0 where the guess does not change along the path. Its value is |g|^2 / d, with a floor.
    The path is that of the item and its noise; with a teacher it is that of the teacher's guesses.
    times: how the noise levels are drawn. teacher: a run whose weights training starts from, or guidance around one.
    derivative: "forward", exact, or "difference", for networks with an operation that has no forward mode.
    The objective `uncertainty` around it is the paper's adaptive weight.
    Raises Refused for numbers that make no sense, and for a teacher that takes few steps itself or has another process.
    Source: arXiv:2410.11081, eq. 8 and alg. 1.
    """

    distils: ClassVar[bool] = True

    aliases: ClassVar[tuple[str, ...]] = ("scm", "sct", "scd", "trigflow")

    times: TimeDistribution = field(default_factory=lambda: LogNormal(-1.0, 1.4))
    data_std: float = 0.5
    warmup: float = 0.1
    c: float = 0.1
    derivative: Method = "forward"

    @classmethod
    def student(cls, tables: Mapping[str, Any], run: str, teacher: Any, to: int) -> Mapping[str, Mapping[str, Any]]:
        std = data_std(tables)
        return consistency_tables(tables, to, name="continuous_consistency", teacher=teacher, data_std=std)

    def __post_init__(self) -> None:
        if not 0 < self.data_std < math.inf or not 0 <= self.warmup <= 1 or not 0 < self.c < math.inf:
            raise Refused(
                "continuous_consistency needs data_std > 0, a warmup from 0 to 1 and c > 0, not "
                f"{self.data_std:g}, {self.warmup:g} and {self.c:g}"
            )

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        t, batch = t.contiguous(), with_weights(model, batch, random.fold(1))
        process, x_0, given = model.process, model.state_of(batch.x), batch.given
        x_t = process.marginal(x_0, t).sample(random.fold(0))
        again = rewind(model.device)
        guess = model(x_t, t, **given).mean
        again()
        g = self.tangent(model, x_t, t, self._path(x_0, x_t, t, given), given)
        sin = factor(angle(process.schedule, t, self.data_std)[0].sin(), x_t)
        change = (guess.detach() - guess) / (self.data_std * sin) - g
        return change.square().flatten(1).mean(1)

    @torch.no_grad()
    def tangent(self, model: Any, x_t: Tensor, t: Tensor, end: Tensor, given: Any) -> Tensor:
        """g, of x_t's shape. end: the guess that leads along the path, such as the item."""
        process, std = model.process, self.data_std
        angles = angle(process.schedule, t, std)
        u, rate, radius = (factor(each, x_t) for each in angles)
        dx = process.velocity(x_t, Normal(end), t) / rate
        guess, slope = derivative(lambda x, at: model(x, at, **given).mean, x_t, t, dx, 1 / angles[1], self.derivative)
        noise, cos, sin = process.noise(x_t, Normal(end), t), u.cos(), u.sin()
        own = cos**2 * (std * cos * noise - sin * end - (cos * x_t / radius - guess) / sin)
        g = own + self.ramp * (cos * slope - own)
        return g / (factor(g.flatten(1).norm(dim=1), g) + self.c)

    @property
    def ramp(self) -> float:
        """r as it is now."""
        return min(1.0, self.training.done / self.warmup) if self.warmup else 1.0

    def check(self, model: Any) -> None:
        refuse_silent(model, self)
        check_teacher(model, self.teacher, asked=True)

    @torch.no_grad()
    def _path(self, x_0: Tensor, x_t: Tensor, t: Tensor, given: Any) -> Tensor:
        guess: Any = None if self.teacher is None else self.teacher(x_t, t, **given)
        return x_0 if guess is None else guess.mean


def angle(schedule: Schedule, t: Tensor, data_std: float) -> tuple[Tensor, Tensor, Tensor]:
    """u = atan(sigma / (data_std alpha)), du/dt and sqrt(alpha^2 + (sigma / data_std)^2), of t's shape."""
    with torch.enable_grad():
        at = t.detach().double().requires_grad_()
        alpha, sigma = schedule.both(at)
        u = torch.atan2(sigma, data_std * alpha)
        rate = torch.autograd.grad(u.sum(), at)[0]
    return u.detach(), rate, torch.hypot(alpha, sigma / data_std).detach()
