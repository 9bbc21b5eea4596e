"""Times of multistep consistency sampling, chosen by how near the samples come to held-out data."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.jumps import WORDS
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.evaluation.metrics.frechet import frechet

POINTS, ROUNDS = 7, 3  # noise levels that are tried at once, and how often they close in
LEAST, MOST = 1e-3, 0.98  # of the level before, between which the next one lies


@dataclass(frozen=True)
class MultistepTimes:
    """times: (steps + 1,), falling to 0, as of the grid `listed`. distances: to held-out items after 1, 2 ... steps;
    floor: of as many other items to them.
    """

    times: tuple[float, ...]
    distances: tuple[float, ...]
    floor: float


def multistep_calls(steps: int) -> int:
    """How many calls of the network `multistep_times` needs for each item."""
    return 1 + (steps - 1) * POINTS * ROUNDS


@torch.no_grad()
def multistep_times(
    denoiser: Denoiser,
    held_out: Tensor,
    steps: int,
    *,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
    **cond: Any,
) -> MultistepTimes:
    """The times at which samples of a consistency function, by `jump` with fresh = 1, come nearest to held-out items.

    The first step is from t = 1. Each further one, after those before it, takes the noise level with the least Frechet
    distance of the encoded numbers after one more call, among levels even in their logarithm that close in on the best
    (arXiv:2303.01469, sec. 3, searches by thirds). The noise is the same for all levels that are compared.
    held_out: encoded items, (2 count, *shape), of which the second half is the floor's. cond: conditions of the first
    half. report: called with calls done and in all. stopped: where it says so, the steps chosen so far are returned.
    Raises Refused for models that are no consistency function, for
    steps below 1 and for fewer than 16 items.
    """
    if denoiser.jumps not in ("data", "any"):
        raise Refused(f"multistep times are of consistency functions, and this model is {WORDS[denoiser.jumps]}")
    if steps < 1 or len(held_out) < 16:
        raise Refused(f"multistep times need steps of 1 or more and 16 items or more, not {steps} and {len(held_out)}")
    wanted, others = (half.double().flatten(1).numpy() for half in held_out.cpu().chunk(2))
    schedule, random = denoiser.process.schedule, Random(seed)
    total = multistep_calls(steps)
    start = denoiser.process.prior((len(wanted), *held_out.shape[1:])).sample(random.fold(-1))
    times, guess = [1.0], _guess(denoiser, start.to(held_out), 1.0, cond)
    distances = [frechet(_flat(guess), wanted)]
    report(done := 1, total)
    for step in range(1, steps):
        found: dict[float, tuple[float, float, Tensor]] = {}  # by log-level: the distance, the time, the samples
        high = math.log(_level(schedule, times[-1]))
        low, high = high + math.log(LEAST), high + math.log(MOST)
        for _ in range(ROUNDS):
            for log in torch.linspace(low, high, POINTS + 2, dtype=torch.float64)[1:-1].tolist():
                if stopped():
                    return MultistepTimes((*times, 0.0), tuple(distances), frechet(others, wanted))
                t = float(schedule.time(torch.tensor(-2 * log, dtype=torch.float64)))
                noisy = denoiser.process.marginal(guess, t).sample(random.fold(step))
                again = _guess(denoiser, noisy, t, cond)
                found[log] = frechet(_flat(again), wanted), t, again
                report(done := done + 1, total)
            best, width = min(found, key=lambda log: found[log][0]), (high - low) / (POINTS + 1)
            low, high = best - width, best + width
        distance, t, guess = found[best]
        times.append(t)
        distances.append(distance)
    return MultistepTimes((*times, 0.0), tuple(distances), frechet(others, wanted))


def _guess(denoiser: Denoiser, x_t: Tensor, t: float, cond: Any) -> Tensor:
    guess: Any = denoiser(x_t, t, to=0.0, **cond)
    return guess.mean


def _flat(x: Tensor) -> Any:
    return x.double().flatten(1).cpu().numpy()


def _level(schedule: Schedule, t: float) -> float:
    """sigma / alpha, of pure noise that of t = 0.99."""
    at = torch.tensor(t, dtype=torch.float64)
    level = float((-schedule.log_snr(at) / 2).exp())
    return level if math.isfinite(level) else _level(schedule, 0.99)
