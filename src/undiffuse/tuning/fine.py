"""The fine trajectory: where many steps lead the same starts, and what a plan of few steps is held against."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.probability_flow import angle, radius
from undiffuse.core.random import Random
from undiffuse.core.sample import trajectory
from undiffuse.core.schedule import Schedule
from undiffuse.guidance.wrapping import Guided

STEPS = 128  # of the fine trajectory, where nobody says
NODES = 2**28  # numbers that states and guesses on the way may have


class InBatches(Guided):
    """A denoiser that is asked for the means of so many samples at once, and counts the samples.

    told: called with the count after every batch.
    """

    def __init__(
        self, denoiser: Denoiser, batch: int | None = None, told: Callable[[int], None] = lambda calls: None
    ) -> None:
        self.denoiser, self.batch, self.told = denoiser, batch, told
        self.calls = 0

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        n, size = len(x_t), self.batch or len(x_t)
        means: list[Tensor] = []
        for first in range(0, n, size):
            part = slice(first, first + size)
            guess: Any = self.denoiser(x_t[part], t, **some(cond, n, part))
            means.append(guess.mean)
            self.calls += len(guess.mean)
            self.told(self.calls)
        return Normal(torch.cat(means), 0.0)


@dataclass(frozen=True, eq=False)
class Fine:
    """The probability flow of some starts, in many small steps.

    times: (n + 1,), falling, in float64. states: (n + 1, rows, *shape) and guesses: (n, rows, *shape), of the first
    rows only. ends: (starts, *shape), of all. cond: of all.
    """

    denoiser: InBatches
    start: Tensor
    times: Tensor
    states: Tensor
    guesses: Tensor
    ends: Tensor
    cond: Mapping[str, Any]

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.process.schedule

    def at(self, t: Tensor, rows: int) -> Tensor:
        """The states at a time, (rows, *shape): cubic between neighbours in the angle atan(sigma/alpha), whose slope
        the guesses say; below the last time with a guess, the straight line to the end.
        """
        i = int((self.times >= t).sum()) - 1
        if i == len(self.times) - 1 or float(self.times[i]) == float(t):
            return self.states[i, :rows]
        if i == len(self.guesses) - 1:
            share = float((t - self.times[i + 1]) / (self.times[i] - self.times[i + 1]))
            return share * self.states[i, :rows] + (1 - share) * self.states[i + 1, :rows]
        (u, y, slope), (u_1, y_1, slope_1) = self._node(i, rows), self._node(i + 1, rows)
        h = u_1 - u
        w = (angle(self.schedule, t) - u) / h
        y_t = (1 + 2 * w) * (1 - w) ** 2 * y + w**2 * (3 - 2 * w) * y_1
        y_t = y_t + h * (w * (1 - w) ** 2 * slope - w**2 * (1 - w) * slope_1)
        return y_t * radius(self.schedule, t)

    def _node(self, i: int, rows: int) -> tuple[float, Tensor, Tensor]:
        """The angle at a fine time, the states of unit size there, and their slope in the angle."""
        u = angle(self.schedule, self.times[i])
        sin, cos = math.sin(u), math.cos(u)
        y, guess = self.states[i, :rows] / radius(self.schedule, self.times[i]), self.guesses[i, :rows]
        return u, y, cos * (y - cos * guess) / sin - sin * guess


def fine(
    denoiser: InBatches,
    start: Tensor,
    cond: Mapping[str, Any],
    rows: int,
    first: float = 1.0,
    last: float = 0.0,
    steps: int = STEPS,
) -> Fine:
    """Follow the starts (n, *shape), at the time `first`, down to `last`, in about so many steps, and keep the states
    of at most so many rows, fewer where they are large.

    The solver is the process's default one: of fourth order, so that its own error is far below that of few steps.
    """
    process: Any = denoiser.process
    if process.family != "values":
        raise Refused(f"a grid is tuned for values, whose steps follow an ODE; this process is one of {process.family}")
    rows = max(1, min(rows, NODES // (2 * steps * start[0].numel())))
    grid = registry.get("grids", process.default_grid)()(process.schedule, steps)
    inside = grid[(grid < first) & (grid > last)]
    times = torch.cat([torch.tensor([first], dtype=torch.float64), inside, torch.tensor([last], dtype=torch.float64)])
    watched = _Watched(denoiser, rows)
    states, x = [start[:rows]], start
    sampler = registry.get("samplers", process.default_sampler)()
    for x in trajectory(watched, sampler, start, times, random=Random(0), **cond):
        states.append(x[:rows])
    return Fine(denoiser, start, times, torch.stack(states), torch.stack(watched.means), x, cond)


class _Watched(Guided):
    """A denoiser whose guesses of the first rows are kept."""

    def __init__(self, denoiser: Denoiser, rows: int) -> None:
        self.denoiser, self.rows = denoiser, rows
        self.means: list[Tensor] = []

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Any:
        guess: Any = self.denoiser(x_t, t, **cond)
        self.means.append(guess.mean[: self.rows])
        return guess


def some(cond: Mapping[str, Any], n: int, part: slice) -> dict[str, Any]:
    """The conditions of some of n samples."""
    rows = {name: value for name, value in cond.items() if torch.is_tensor(value) and value.shape[:1] == (n,)}
    return {**cond, **{name: value[part] for name, value in rows.items()}}
