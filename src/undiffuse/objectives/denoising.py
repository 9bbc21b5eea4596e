"""Denoising: noise the data, guess it back, weigh the error by the noise level."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from undiffuse.core.continuous_time_bound import falling
from undiffuse.core.distribution.distribution import Distribution, counted
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.objective import Batch
from undiffuse.core.process.product import apart, masks
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform

Weighting = Literal[
    "noise", "snr", "data", "min_snr", "edm", "truncated_snr", "snr_plus_one", "likelihood", "unmasking"
]


@dataclass(frozen=True)
class Denoising(Timed):
    """loss = w(SNR) |guess - x_0|^2 / d  with x_t drawn from q(x_t given x_0);
    cross-entropy in place of the square for tokens.

    The weighting is defined once, on the error of x_0, so it gives the same loss under every parameterization:
    "noise" (uniform on the noise, which is "snr" on the data; arXiv:2006.11239, eq.
    14), "data" (1), "min_snr" (min(SNR, gamma), arXiv:2303.09556),
    "edm" (SNR + 1/data_std^2, arXiv:2206.00364, table 1), "truncated_snr" (max(SNR,
    1)) and "snr_plus_one" (the velocity's; both arXiv:2202.00512, sec. 4).
    "likelihood" is g^2 on the score, -dSNR/dt on the data, g the diffusion of the schedule's own equation
    (arXiv:2101.09258, eq. 7; arXiv:2107.00630, eq. 17): half its mean over t, times d, is the bound in nats, up to what
    does not depend on the guess. With times "log_uniform" and "noise" instead it is drawn by importance.
    For tokens "data" is the plain cross-entropy, and "unmasking" the rate at which masks are lifted, -alpha'/(1 -
    alpha), on a table of T steps T (alpha_s - alpha_t)/(1 - alpha_t), s = t - 1/T: with denoiser.output = "subs" the
    loss is the bound of masked diffusion itself, in nats a token (arXiv:2406.07524, eq. 10; 2107.03006, app. A.3).
    Of a `Product` it is the sum of the parts' losses; of items of different sizes d counts what is no padding.
    times: how the noise levels are drawn. Raises Refused for an unknown weighting and parameters <= 0.
    """

    masks: ClassVar[bool] = True

    weighting: Weighting = "noise"
    times: TimeDistribution = field(default_factory=Uniform)
    gamma: float = 5.0
    data_std: float = 0.5

    aliases: ClassVar[tuple[str, ...]] = ("mse", "simple", "dsm", "denoising_score_matching")

    def __post_init__(self) -> None:
        if self.weighting not in _WEIGHTS:
            raise unknown("the denoising objective's weighting", self.weighting, _WEIGHTS)
        if self.gamma <= 0 or self.data_std <= 0:
            raise Refused(f"denoising needs gamma > 0 and data_std > 0, not {self.gamma:g} and {self.data_std:g}")

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        process, x_0 = model.process, model.state_of(batch.x)
        x_t = process.marginal(x_0, t).sample(random)
        parts = apart(process, model(x_t, t, **batch.given), x_0, masks(process, batch.mask))
        losses = [self.of(guess, x, part.schedule, t, mask) for part, guess, x, mask in parts]
        return sum(losses[1:], start=losses[0])

    def of(self, guess: Distribution, x_0: Tensor, schedule: Schedule, t: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of each guess: (batch,). mask: which elements count, None for all."""
        weight = _WEIGHTS[self.weighting](self, schedule, t)
        error = guess.error(x_0) if mask is None else guess.masked(mask).error(x_0)
        return weight.to(error) * error / (max(1, x_0[0].numel()) if mask is None else counted(x_0, mask).to(error))


def _snr(schedule: Schedule, t: Tensor) -> Tensor:
    return schedule.log_snr(t).exp()


def _falling(schedule: Schedule, t: Tensor) -> Tensor:
    """-dSNR/dt by automatic differentiation."""
    with torch.enable_grad():
        t = t.detach().double().requires_grad_()
        return -torch.autograd.grad(_snr(schedule, t).sum(), t)[0]


def _unmasking(schedule: Schedule, t: Tensor) -> Tensor:
    if float(schedule.alpha(torch.tensor(1.0, dtype=torch.float64))) > 0.5:
        raise Refused("weighting 'unmasking' is of tokens, and this schedule keeps all signal: take 'snr' or 'edm'")
    alpha, steps = schedule.alpha(t), schedule.steps
    if steps:
        return steps * (schedule.alpha((schedule.step(t) - 1).double() / steps) - alpha) / (1 - alpha)
    return falling(schedule, t, t) / (1 - alpha)


_WEIGHTS: dict[str, Callable[[Denoising, Schedule, Tensor], Tensor]] = {
    "noise": lambda _, schedule, t: _snr(schedule, t),
    "snr": lambda _, schedule, t: _snr(schedule, t),
    "data": lambda _, schedule, t: torch.ones_like(t),
    "min_snr": lambda objective, schedule, t: _snr(schedule, t).clamp(max=objective.gamma),
    "edm": lambda objective, schedule, t: _snr(schedule, t) + 1 / objective.data_std**2,
    "truncated_snr": lambda _, schedule, t: _snr(schedule, t).clamp(min=1),
    "snr_plus_one": lambda _, schedule, t: _snr(schedule, t) + 1,
    "likelihood": lambda _, schedule, t: _falling(schedule, t),
    "unmasking": lambda _, schedule, t: _unmasking(schedule, t),
}
