"""A plan of few steps for one model: the times, and the coefficients of its steps, that stay closest to its ODE."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import arguments, jumps, registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.named_parts import to
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.core.sampler import Sampler
from undiffuse.tuning.fine import Fine, InBatches, fine, some
from undiffuse.tuning.followers import Fitted, Follower, Free, Taken
from undiffuse.tuning.local_errors import least_straying
from undiffuse.tuning.search import ROUNDS, improved

FEW_GUESSES, MANY_STEPS = 3, 10  # how many guesses a step reads; up to so many steps one that reads all is tried too
LEAST = 8  # starts
CLEARLY = 0.98  # of the default's error: less of a gain is chance
FEW, NUMBERS = 16, 2**15  # starts that a search follows at least, and how many numbers they have
Advance = Callable[[float], None]
_ROUTED = {
    "data": "it follows no ODE whose times could be tuned; sample it in few steps by the sampler jump",
    "fixed": "its only times are those that it was trained for",
}


@dataclass(frozen=True, eq=False)
class Plan:
    """A sampler on its times, (steps + 1,), and how far it strays: `undiffuse.sample(..., sampler=plan.sampler,
    times=plan.times)`.

    error, default_error: root mean square distance of the ends to those of the fine trajectory, of starts that nothing
    was tuned or chosen on, in the data's encoded units; of this plan and of the default one. tuned: whether it is
    another than the default, which is kept where tuning does not improve on it.
    """

    sampler: Sampler
    times: Tensor
    error: float
    default_error: float
    tuned: bool

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    def __str__(self) -> str:
        how = "tuned" if self.tuned else "the default, which tuning did not improve"
        return f"{self.steps} steps, {how}: error {self.error:.4g}, of the default {self.default_error:.4g}"


@dataclass(frozen=True, eq=False)
class Tuner:
    """Fine trajectories, and the plans of any number of steps that are tuned on them.

    Half of the starts are tuned on: the coefficients on all of them, the times on half of those. A quarter chooses, and
    a quarter reports. rounds, tolerance: of moving the times, see `moved`.
    """

    fine: Fine
    rounds: int = ROUNDS
    tolerance: float = 1e-2

    @property
    def count(self) -> int:
        """How many starts coefficients are fitted to."""
        return len(self.fine.states[0])

    @property
    def few(self) -> int:
        """How many starts a search follows."""
        return min(self.count, max(FEW, NUMBERS // self.fine.start[0].numel()))

    def plan(
        self,
        steps: int,
        sampler: Sampler | None = None,
        default: tuple[Sampler, Tensor] | None = None,
        advance: Advance = lambda share: None,
    ) -> Plan:
        """The plan of so many steps that strays least, see `tune_grid`. default: what it is held against, and where
        else the search starts.
        """
        if self.fine.denoiser.jumps == "any" and sampler is None:
            sampler = self.default(steps)[0]  # a flow map's own jumps: what is linear in guesses would not use them
        if sampler is not None and not sampler.convergence_order and self.fine.denoiser.jumps == "none":
            raise Refused(
                f"{registry.name_of(sampler)} draws fresh noise, or goes by a tolerance, and a tuned grid follows the "
                "ODE in given steps: take another sampler, such as ddim"
            )
        usual, times = default or self.default(steps, sampler)
        found, usual_error = (usual, times), self.error(usual, times, self._part(2))
        default_error = self.error(usual, times, self._part(3))
        error, chosen, tuned = default_error, usual_error, False
        for other, grid in self._candidates(steps, sampler, times, advance):
            there = self.error(other, grid, self._part(2))
            new = self.error(other, grid, self._part(3))
            if there < min(chosen, CLEARLY * usual_error) and new < CLEARLY * default_error:
                found, chosen, error, tuned = (other, grid), there, new, True
        return Plan(*found, error, default_error, tuned)

    def default(self, steps: int, sampler: Sampler | None = None) -> tuple[Sampler, Tensor]:
        """The plan of a process, or a sampler, where nobody tunes, between the ends of the fine trajectory."""
        process: Any = self.fine.denoiser.process
        usual: Sampler = sampler or jumps.default_sampler(self.fine.denoiser)
        times = registry.get("grids", usual.grid or process.default_grid)()(process.schedule, steps)
        first, last = self.fine.times[0], self.fine.times[-1]
        if float(times[0]) == float(first) and float(times[-1]) == float(last):
            return usual, times
        levels = -process.schedule.log_snr(torch.stack([first, last])) / 2
        even = torch.linspace(float(levels[0]), float(levels[1]), steps + 1, dtype=torch.float64)
        return usual, torch.cat([first[None], process.schedule.time(-2 * even[1:-1]), last[None]])

    def error(self, sampler: Sampler, times: Tensor, part: slice) -> float:
        """How far these steps stray with some of the starts, on average over them."""
        ends = self._ends(sampler, times, part)
        return float((ends - self.fine.ends[part]).double().flatten(1).square().mean(1).sqrt().mean())

    def calls(self, sampler: Sampler, times: Tensor) -> float:
        """Network calls a sample."""
        before = self.fine.denoiser.calls
        self._ends(sampler, times, slice(1))
        return self.fine.denoiser.calls - before

    def _ends(self, sampler: Sampler, times: Tensor, part: slice) -> Tensor:
        cond = some(self.fine.cond, len(self.fine.start), part)
        return sample(self.fine.denoiser, (), sampler=sampler, times=times, start=self.fine.start[part], **cond)

    def _candidates(
        self, steps: int, sampler: Sampler | None, times: Tensor, advance: Advance
    ) -> Iterator[tuple[Sampler, Tensor]]:
        """Plans that may be better, each on its times."""
        starts = [self._inner(grid) for grid in (least_straying(self.fine, steps), times)]
        if sampler is not None:
            way = Taken(self.fine, self.few, sampler)
            values, stands = improved(way, self._nearest(way, starts), self.rounds, self.tolerance, advance)
            yield sampler, way.times(values)
            return
        histories = sorted({min(steps, FEW_GUESSES), min(steps, FEW_GUESSES if steps > MANY_STEPS else steps)})
        for i, history in enumerate(histories):

            def tell(share: float, done: int = 2 * i) -> None:
                advance((done + share) / (2 * len(histories)))

            search, whole = (Fitted(self.fine, count, history) for count in (self.few, self.count))
            inner, _ = improved(search, self._nearest(search, starts), self.rounds, self.tolerance, tell)
            starts.append(inner)
            stand = whole.follow(inner)[-1]
            yield whole.sampler(stand, whole.times(inner)), whole.times(inner)
            free = Free(self.fine, self.few, history, steps)
            values = free.values(inner, stand.rows)
            values, stands = improved(free, values, self.rounds, self.tolerance, partial(tell, done=2 * i + 1))
            yield free.sampler(stands[-1], free.times(values)), free.times(values)

    def _inner(self, grid: Tensor) -> Tensor:
        """The levels between the ends."""
        return -self.fine.schedule.log_snr(grid[1:-1]) / 2

    def _nearest(self, way: Follower, starts: Sequence[Tensor]) -> Tensor:
        """The levels that lead nearest to the end."""
        return min(starts, key=lambda inner: float(way.strayed(way.follow(inner)[-1]).square().mean()))

    def _part(self, quarter: int) -> slice:
        n = len(self.fine.start)
        return slice(quarter * n // 4, (quarter + 1) * n // 4)


def tuner(
    denoiser: Denoiser,
    start: Tensor,
    cond: Mapping[str, Any],
    *,
    first: float = 1.0,
    last: float = 0.0,
    batch: int | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Tuner:
    """A `Tuner` on the trajectories of these starts, (n, *shape) at the time `first`; batch: at most so many at once.

    Raises Refused for fewer than 8 starts, for processes other than of values, and for models whose jumps fix how they
    are sampled.
    """
    if len(start) < LEAST:
        raise Refused(f"{len(start)} starts are too few to tune on, to choose and to report: at least {LEAST}")
    if why := _ROUTED.get(denoiser.jumps):
        raise Refused(f"this model is {jumps.WORDS[denoiser.jumps]}: {why}")
    asked = InBatches(denoiser, batch)
    return Tuner(fine(asked, start, cond, len(start) // 2, first, last, advance))


@torch.no_grad()
def tune_grid(
    denoiser: Denoiser,
    shape: Any,
    *,
    steps: int,
    sampler: Sampler | None = None,
    start: Tensor | None = None,
    seed: int = 0,
    first: float = 1.0,
    last: float = 0.0,
    rounds: int = ROUNDS,
    tolerance: float = 1e-2,
    **cond: Any,
) -> Plan:
    """Find the times of so many steps, and the coefficients of each, that end nearest to the denoiser's own ODE.

    shape: (starts, *shape), a few hundred. sampler: whose times are found; by default the coefficients of the steps are
    found with them, see `Tuned`. start: noisy batches at the time `first` instead of draws from the prior.
    first, last: the ends of the grid, which stay. rounds, tolerance: the search stops after so many rounds, or where
    one gains less than this share of the squared error. cond: conditions, of each start.
    The grid starts where local errors of a fine trajectory sum to least (arXiv:2405.11326), or at the default, and its
    times are moved by Newton's method. Raises Refused for a sampler that draws noise, and as `tuner`.
    """
    if arguments.whole(steps, "steps") < 1:
        raise Refused(f"sampling needs at least 1 step, not {steps}")
    noise: Any = start
    if noise is None:
        drawn = denoiser.process.prior(shape, first).sample(Random(seed).fold(-1))
        noise = to(drawn, denoiser.device or torch.device("cpu"))
    made = tuner(denoiser, noise, cond, first=first, last=last)
    return Tuner(made.fine, rounds, tolerance).plan(steps, sampler)
