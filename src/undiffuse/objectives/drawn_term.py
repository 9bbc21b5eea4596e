"""What objectives share that bound a chain of steps: the bound's term at a drawn step, as the whole bound."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.broadcast import column
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.errors import Refused
from undiffuse.core.reverse import BOUND, rebuilt, reverse
from undiffuse.core.schedule import Schedule


def steps(schedule: Schedule, t: Tensor, who: str) -> Tensor:
    """The table's times at or above t, (batch,); raises Refused for a schedule that is no table of 2 steps or more."""
    if schedule.steps < 2:
        raise Refused(
            f"{who} bounds a chain of steps, as cosine and linear_beta have; {registry.name_of(schedule)} has none: "
            "use denoising with weighting 'likelihood'"
        )
    return schedule.step(t).clamp(min=1).double() / schedule.steps


def decoder(levels: int, low: float, high: float, x_0: Tensor) -> Decoder | None:
    """What the last step is judged by: levels of data that have some (see `Decoder`), or for 0 a density.

    Raises Refused for data outside the levels' range, where that can be seen without waiting for a GPU.
    """
    found = Decoder(low, high, levels) if levels else None
    if found is not None and x_0.device.type == "cpu":
        found.check(x_0)
    return found


def bound(
    process: Any, x_0: Tensor, x_t: Tensor, guess: Any, t: Tensor, variance: str, levels: Decoder | None
) -> Tensor:
    """T times the bound's term at t = i/T in bits per dimension, (batch,): over uniform t its mean is the whole bound.

    i > 1: KL(q(x_s given x_t, x_0) || p(x_s given x_t)) with s = t - 1/T; i = 1: -log p(x_0 given x_t). The prior's
    term is left out, in which nothing is learned.
    """
    n = process.schedule.steps
    first = (t * n).round() == 1
    before, here = (
        torch.where(first, 1 / n, (t * n).round() / n - 1 / n),
        torch.where(first, 2 / n, t),
    )  # first: any step
    kl = process.bridge(x_t, process.point(x_0), before, here).kl(
        reverse(process, x_t, guess, before, here, variance, BOUND)
    )
    wide = column(first, x_0)
    near = replace(
        guess,
        mean=torch.where(wide, guess.mean, x_0),  # elsewhere a guess far off, whose gradient could be no number
        fraction=None if guess.fraction is None else torch.where(wide, guess.fraction, 0.5),
    )
    ends = torch.tensor([2 / n, 1 / n, 0.0], dtype=torch.float64)
    last = -rebuilt(process, x_0.double(), x_t, near, ends, variance, levels)
    nats = torch.where(first.to(x_0.device), last, kl.double())
    return nats * (n / (math.log(2) * x_0[0].numel()))
