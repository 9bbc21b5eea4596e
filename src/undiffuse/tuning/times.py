"""A plan of few steps for one model: the times, and the coefficients of its steps, that stay closest to its ODE."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from undiffuse.tuning.fine import STEPS, Fine, InBatches, fine, some
from undiffuse.tuning.followers import Fitted, Follower, Free, Stand, Taken
from undiffuse.tuning.local_errors import least_straying
from undiffuse.tuning.search import ROUNDS, improved
from undiffuse.tuning.search import STEPS as TAKEN

GUESSES = 4  # that a step reads at most
LEAST = 8  # starts
CLEARLY = 0.98  # of the default's error: less of a gain is chance
TWENTIETH = 20
LEAST_FINE, FINER = 64, 8  # steps of the fine trajectory at least, and for each of the plan's
FOLLOWS_NONE = "it follows no ODE; undiffuse.tuning.multistep_times finds its times by the distance to held-out data"


@dataclass(frozen=True, eq=False)
class Plan:
    """A sampler on its times, (steps + 1,), and how far it strays: `undiffuse.sample(..., sampler=plan.sampler,
    times=plan.times)`.

    error, default_error: root mean square distance of the ends to those of the fine trajectory, of starts that nothing
    was tuned or chosen on, but the worst twentieth, in the data's encoded units; of this plan and of the default one.
    tuned: whether it is another than the default, which is kept where tuning does not improve on it.
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

    Half of the starts are tuned on, a quarter chooses, and a quarter reports. rounds, tolerance: of the search, see
    `improved`, as `stopped`, which ends it with the best so far.
    """

    fine: Fine
    rounds: int = ROUNDS
    tolerance: float = 1e-2
    stopped: Callable[[], bool] = lambda: False

    measured = "distance to the ends of fine trajectories"

    def plan(self, steps: int, sampler: Sampler | None = None, default: tuple[Sampler, Tensor] | None = None) -> Plan:
        """The plan of so many steps that strays least, see `tune_grid`. default: what it is held against, and where
        else the search starts.
        """
        sampler = self._own(steps, sampler)
        if sampler is not None and not sampler.convergence_order and self.fine.denoiser.jumps == "none":
            raise Refused(
                f"{registry.name_of(sampler)} draws fresh noise, or goes by a tolerance, and a tuned grid follows the "
                "ODE in given steps: take another sampler, such as ddim"
            )
        usual, times = default or self.default(steps, sampler)
        found, least = None, CLEARLY * self.error(usual, times, self._part(2))
        for plan in self._candidates(steps, sampler, times):
            there = self.error(*plan, self._part(2))
            if there < least:
                found, least = plan, there
        default_error = self.error(usual, times, self._part(3))
        if found is not None and (error := self.error(*found, self._part(3))) < CLEARLY * default_error:
            return Plan(*found, error, default_error, True)
        return Plan(usual, times, default_error, default_error, False)

    def default(self, steps: int, sampler: Sampler | None = None) -> tuple[Sampler, Tensor]:
        """The plan of a process, or a sampler, where nobody tunes, between the ends of the fine trajectory."""
        process: Any = self.fine.denoiser.process
        usual, times = default_plan(self.fine.denoiser, steps, sampler)
        first, last = self.fine.times[0], self.fine.times[-1]
        if float(times[0]) == float(first) and float(times[-1]) == float(last):
            return usual, times
        levels = -process.schedule.log_snr(torch.stack([first, last])) / 2
        even = torch.linspace(float(levels[0]), float(levels[1]), steps + 1, dtype=torch.float64)
        return usual, torch.cat([first[None], process.schedule.time(-2 * even[1:-1]), last[None]])

    def can_take(self, sampler: Sampler) -> bool:
        """Whether a sampler follows the ODE in given steps."""
        return sampler.convergence_order > 0

    def error(self, sampler: Sampler, times: Tensor, part: slice) -> float:
        """How far these steps stray with some of the starts: root mean square over numbers and over all but the worst
        twentieth of the starts, where paths part and one of them would outweigh all others.
        """
        ends = self._ends(sampler, times, part)
        strayed = (ends - self.fine.ends[part]).double().flatten(1).square().mean(1).sort().values
        return float(strayed[: len(strayed) - len(strayed) // TWENTIETH].mean().sqrt())

    def one(self, sampler: Sampler, times: Tensor) -> None:
        """Take these steps with one sample, to see what they cost."""
        self._ends(sampler, times, slice(1))

    def _ends(self, sampler: Sampler, times: Tensor, part: slice) -> Tensor:
        cond = some(self.fine.cond, len(self.fine.start), part)
        return sample(self.fine.denoiser, (), sampler=sampler, times=times, start=self.fine.start[part], **cond)

    def _candidates(self, steps: int, sampler: Sampler | None, times: Tensor) -> Iterator[tuple[Sampler, Tensor]]:
        """Plans that may be better, each on its times."""
        starts = [self._inner(grid) for grid in (least_straying(self.fine, steps), times)]
        count, history = len(self.fine.states[0]), min(steps, GUESSES)
        way = Fitted(self.fine, count, history) if sampler is None else Taken(self.fine, count, sampler)
        values, stands = self._moved(way, self._nearest(way, starts), 1 if sampler is None else self.rounds)
        yield way.sampler(stands[-1], way.times(values)), way.times(values)
        if sampler is None:
            free = Free(self.fine, count, history, steps)
            values, stands = self._moved(free, free.values(values, stands[-1].rows), self.rounds)
            yield free.sampler(stands[-1], free.times(values)), free.times(values)

    def _moved(self, way: Follower, values: Tensor, rounds: int) -> tuple[Tensor, list[Stand]]:
        return improved(way, values, rounds, self.tolerance, self.stopped)

    def _inner(self, grid: Tensor) -> Tensor:
        """The levels between the ends."""
        return -self.fine.schedule.log_snr(grid[1:-1]) / 2

    def _own(self, steps: int, sampler: Sampler | None) -> Sampler | None:
        """The sampler whose times are tuned; a flow map's own jumps: what is linear in guesses would not use them."""
        return self.default(steps)[0] if sampler is None and self.fine.denoiser.jumps == "any" else sampler

    def _nearest(self, way: Follower, starts: Sequence[Tensor]) -> Tensor:
        """The levels that lead nearest to the end."""
        return min(starts, key=lambda inner: float(way.strayed(way.follow(inner)[-1]).square().mean()))

    def _part(self, quarter: int) -> slice:
        n = len(self.fine.start)
        return slice(quarter * n // 4, (quarter + 1) * n // 4)


def tuner(
    asked: InBatches,
    start: Tensor,
    cond: Mapping[str, Any],
    steps: int,
    first: float = 1.0,
    last: float = 0.0,
    stopped: Callable[[], bool] = lambda: False,
) -> Tuner:
    """A `Tuner` of at most so many steps on the trajectories of these starts, (n, *shape) at the time `first`.

    Raises Refused for fewer than 8 starts, for more than 64 steps, for processes other than of values, and for
    models whose jumps fix how they are sampled.
    """
    if len(start) < LEAST:
        raise Refused(f"{len(start)} starts are too few to tune on, to choose and to report: at least {LEAST}")
    refuse_jumps(asked)
    refuse_many(steps)
    if asked.jumps == "data":
        raise Refused(f"this model is {jumps.WORDS[asked.jumps]}: {FOLLOWS_NONE}")
    return Tuner(fine(asked, start, cond, len(start) // 2, first, last, fine_steps(steps)), stopped=stopped)


def default_plan(denoiser: Denoiser, steps: int, sampler: Sampler | None = None) -> tuple[Sampler, Tensor]:
    """A sampler, or the one of such a model, on the times that it takes where nobody says."""
    process: Any = denoiser.process
    usual: Sampler = sampler or jumps.default_sampler(denoiser)
    return usual, registry.get("grids", usual.grid or process.default_grid)()(process.schedule, steps)


def refuse_jumps(denoiser: Denoiser) -> None:
    """Raises Refused for a student of one grid."""
    if denoiser.jumps == "fixed":
        raise Refused(f"this model is {jumps.WORDS['fixed']}: its only times are those that it was trained for")


def refuse_many(steps: int) -> None:
    """Raises Refused for plans that are nearly as fine as what they are held against."""
    if steps > STEPS // 2:
        raise Refused(
            f"a plan of {steps} steps cannot be tuned: it is held against {STEPS} steps, and takes {STEPS // 2} at most"
        )


def fine_steps(steps: int) -> int:
    """How fine the trajectory is that plans of so many steps are held against."""
    return min(STEPS, max(LEAST_FINE, FINER * steps))


def tuning_calls(starts: int, steps: Sequence[int]) -> int:
    """About how many calls of the network tuning for these numbers of steps needs at most, one a sample and step."""
    return starts * fine_steps(max(steps)) + sum(_plan_calls(starts, each) for each in steps)


def _plan_calls(starts: int, steps: int) -> int:
    """The judged plans, and the derivatives by levels and by coefficients with the steps that are taken by them."""
    levels = steps * (steps - 1) // 2
    rows = sum(min(i + 1, GUESSES) * (steps - 1 - i) for i in range(steps))
    taken = (TAKEN + 1) * steps
    return starts * 5 * steps // 4 + starts // 2 * (3 * steps + (levels + taken) + ROUNDS * (levels + rows + taken))


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
    made = tuner(InBatches(denoiser), noise, cond, steps, first, last)
    return replace(made, rounds=rounds, tolerance=tolerance).plan(steps, sampler)
