"""How few steps are taken along a grid: by a sampler, or with coefficients that are fitted or given."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.samplers.tuned import Tuned
from undiffuse.tuning.fine import Fine, some

TINY = 1e-30  # where all guesses are 0, as those of centred data in pure noise
RIDGE = 1e-7  # how strongly the fitted coefficients are held at those of DDIM, as a share of the guesses' mean square


@dataclass(frozen=True, eq=False)
class Stand:
    """Where the starts stand before a step: their states, what the way of stepping remembers, and its rows so far."""

    x: Tensor
    memory: Any = None
    rows: tuple[tuple[float, ...], ...] = ()


class Follower(ABC):
    """A way to take few steps with the first `count` starts of the fine trajectory.

    values: what a search changes, in float64: the levels log(sigma/alpha) between the ends of the grid, and whatever
    else the way of stepping has.
    """

    fine: Fine
    count: int

    @abstractmethod
    def step(self, stand: Stand, i: int, t: Tensor, s: Tensor, values: Tensor) -> Stand:
        """Where the i-th step, from t to s, leads."""

    @abstractmethod
    def sampler(self, stand: Stand, times: Tensor) -> Sampler:
        """The sampler that takes these steps with any start; stand: the one at the end."""

    def inner(self, values: Tensor) -> Tensor:
        """The levels among the values."""
        return values

    def times(self, values: Tensor) -> Tensor:
        """The grid, (steps + 1,)."""
        ends = self.fine.times
        return torch.cat([ends[:1], self.fine.schedule.time(-2 * self.inner(values)), ends[-1:]])

    def follow(self, values: Tensor, before: Sequence[Stand] = ()) -> list[Stand]:
        """The stands before every step and at the end; the first ones may be known."""
        times = self.times(values)
        stands = list(before) or [Stand(self.fine.start[: self.count])]
        for i in range(len(stands) - 1, len(times) - 1):
            stands.append(self.step(stands[-1], i, times[i], times[i + 1], values))
        return stands

    def known(self, stands: Sequence[Stand], values: Tensor, k: int) -> Sequence[Stand]:
        """The first stands by values of which the k-th alone differs from those that led to `stands`, without a call of
        the network: a level changes nothing before the step onto it.
        """
        return stands[: k + 1]

    def strayed(self, stand: Stand) -> Tensor:
        """How far each number is from the end of the fine trajectory, in one row, in float64."""
        return (stand.x - self.fine.ends[: self.count]).double().flatten()

    @property
    def cond(self) -> dict[str, Any]:
        return some(self.fine.cond, len(self.fine.start), slice(self.count))


@dataclass(frozen=True, eq=False)
class Taken(Follower):
    """The steps of a sampler as it is."""

    fine: Fine
    count: int
    solver: Sampler

    def step(self, stand: Stand, i: int, t: Tensor, s: Tensor, values: Tensor) -> Stand:
        random = Random(0).fold(i)
        belief: Any
        belief, memory = self.solver.step(self.fine.denoiser, stand.x, t, s, stand.memory, random=random, **self.cond)
        return Stand(belief.mean, memory)

    def sampler(self, stand: Stand, times: Tensor) -> Sampler:
        return self.solver


class Linear(Follower):
    """Steps of `Tuned`: x_s = keep x_t + pull D, D a row of coefficients times the last guesses, newest first.

    history: how many guesses a step reads at most.
    """

    history: int

    @abstractmethod
    def row(self, i: int, guesses: Sequence[Tensor], values: Tensor, wanted: Callable[[], Tensor]) -> tuple[float, ...]:
        """The coefficients of the i-th step; wanted: the D that leads onto the fine state."""

    def step(self, stand: Stand, i: int, t: Tensor, s: Tensor, values: Tensor) -> Stand:
        guess: Any = self.fine.denoiser(stand.x, t, **self.cond)
        return self.landed(stand, (guess.mean, *(stand.memory or ()))[: self.history], i, t, s, values)

    def landed(self, stand: Stand, guesses: tuple[Tensor, ...], i: int, t: Tensor, s: Tensor, values: Tensor) -> Stand:
        """Where the i-th step leads, given its guesses."""
        keep, pull = self.factors(t, s)
        row = self.row(i, guesses, values, lambda: (self.fine.at(s, self.count) - keep * stand.x) / pull)
        x = keep * stand.x + pull * sum(c * each for c, each in zip(row, guesses, strict=True))
        return Stand(x, guesses, (*stand.rows, row))

    def known(self, stands: Sequence[Stand], values: Tensor, k: int) -> Sequence[Stand]:
        """The step onto a level begins where it did, with the same guesses."""
        return [*stands[: k + 1], self.again(stands, values, k)]

    def again(self, stands: Sequence[Stand], values: Tensor, i: int) -> Stand:
        """Where the i-th step leads by other values, from where it began."""
        times = self.times(values)
        return self.landed(stands[i], stands[i + 1].memory, i, times[i], times[i + 1], values)

    def factors(self, t: Tensor, s: Tensor) -> tuple[float, float]:
        """keep and pull of the step from t to s."""
        schedule = self.fine.schedule
        keep = float(schedule.sigma(s) / schedule.sigma(t))
        return keep, float(schedule.alpha(s)) - keep * float(schedule.alpha(t))

    def sampler(self, stand: Stand, times: Tensor) -> Sampler:
        return Tuned(tuple(times.tolist()), stand.rows)


@dataclass(frozen=True, eq=False)
class Fitted(Linear):
    """Rows that lead nearest to the fine state at the end of their own step: least squares, given the steps before.

    So each step makes up for what the others did wrong.
    """

    fine: Fine
    count: int
    history: int

    def row(self, i: int, guesses: Sequence[Tensor], values: Tensor, wanted: Callable[[], Tensor]) -> tuple[float, ...]:
        columns = torch.stack([guess.flatten() for guess in guesses], 1).double()
        rest = wanted().flatten().double() - columns[:, 0]
        gram, right = columns.T @ columns, columns.T @ rest
        eye = torch.eye(len(guesses), dtype=torch.float64, device=gram.device)
        found = torch.linalg.solve(gram + (RIDGE * gram.diagonal().mean() + TINY) * eye, right).cpu()
        found[0] += 1
        return tuple(found.tolist())


@dataclass(frozen=True, eq=False)
class Free(Linear):
    """Rows that a search changes together with the levels; in `values` they stand behind those, row by row."""

    fine: Fine
    count: int
    history: int
    steps: int

    def inner(self, values: Tensor) -> Tensor:
        return values[: self.steps - 1]

    def values(self, inner: Tensor, rows: Sequence[Sequence[float]]) -> Tensor:
        """The levels and the rows as one vector."""
        return torch.cat([inner, torch.tensor([c for row in rows for c in row], dtype=torch.float64)])

    def row(self, i: int, guesses: Sequence[Tensor], values: Tensor, wanted: Callable[[], Tensor]) -> tuple[float, ...]:
        first = self.steps - 1 + sum(min(k + 1, self.history) for k in range(i))
        return tuple(values[first : first + len(guesses)].tolist())

    def known(self, stands: Sequence[Stand], values: Tensor, k: int) -> Sequence[Stand]:
        """A coefficient changes nothing before its own step."""
        i = k if k < self.steps - 1 else self._places[k - self.steps + 1]
        return [*stands[: i + 1], self.again(stands, values, i)]

    @property
    def _places(self) -> list[int]:
        """The step of each coefficient."""
        return [i for i in range(self.steps) for _ in range(min(i + 1, self.history))]
