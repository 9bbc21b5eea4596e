"""The values of a way of stepping, moved until few steps end nearest to the fine trajectory."""

from collections.abc import Callable

import torch
from torch import Tensor

from undiffuse.tuning.followers import Follower, Stand

ROUNDS, STEPS = 2, 6  # rounds with a derivative each, and steps that are taken by it
SHIFT = {torch.float64: 1e-4, torch.float32: 1e-2}  # of log(sigma/alpha), for a derivative by difference
DAMPING = (0.1, 0.2, 5.0)  # at first, its factor after a step that gains, and after one that does not
TRIALS = 6  # steps that are tried in place of one that does not gain, each shorter


def improved(
    follower: Follower,
    values: Tensor,
    rounds: int = ROUNDS,
    tolerance: float = 1e-2,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Tensor, list[Stand]]:
    """The values of a follower, moved, and the stands that they lead to.

    Newton's method on the ends' squared error, damped. The derivative by one value comes from differences, and needs
    only the steps behind it; after each step it is corrected by what the step did (Broyden's update), which costs
    nothing, and it is taken anew once a round. The curvature is that of Gauss and Newton and a secant estimate of the
    rest, which matters where the error stays large. Stops after so many rounds, where one gains less than this share,
    and where `stopped` says so, with the best so far.
    Source: the algorithm NL2SOL, Dennis, Gay and Welsch 1981, doi:10.1145/355958.355965.
    """
    stands = follower.follow(values)
    rest = follower.strayed(stands[-1])
    beyond = torch.zeros(len(values), len(values), dtype=torch.float64)
    before: tuple[Tensor, Tensor, Tensor] | None = None
    damping = DAMPING[0]
    for _ in range(rounds if len(values) else 0):
        slope = _slopes(follower, values, stands, rest, stopped)
        if slope is None:
            break
        down = (slope.T @ rest).cpu()
        if before is not None:
            beyond = _secant(beyond, (values - before[0], *before[1:]), slope, rest, down)
        before = values, slope, down
        begun = error = float(rest.square().sum())
        for _ in range(STEPS):
            found, damping = _step(follower, values, rest, slope, beyond, damping, stopped)
            if found is None:
                break
            new, stands, now = found
            step = new - values
            miss = now - rest - slope @ step.to(slope.device)
            slope = slope + torch.outer(miss, step.to(slope.device)) / float(step @ step)
            values, rest, error = new, now, float(now.square().sum())
        if error > (1 - tolerance) * begun:
            break
    return values, stands


def _step(
    follower: Follower,
    values: Tensor,
    rest: Tensor,
    slope: Tensor,
    beyond: Tensor,
    damping: float,
    stopped: Callable[[], bool],
) -> tuple[tuple[Tensor, list[Stand], Tensor] | None, float]:
    """New values, the stands and how far they stray, where one of some steps gains; and the damping from here on."""
    error = float(rest.square().sum())
    down, curvature = (slope.T @ rest).cpu(), (slope.T @ slope).cpu() + beyond
    eye = torch.eye(len(values), dtype=torch.float64)
    _, gains, loses = DAMPING
    for _ in range(TRIALS if error else 0):
        if stopped():
            break
        new = values + torch.linalg.solve(curvature + damping * error * eye, -down)
        if bool((follower.times(new).diff() < 0).all()):
            tried = follower.follow(new)
            now = follower.strayed(tried[-1])
            if float(now.square().sum()) < error:
                return (new, tried, now), damping * gains
        damping *= loses
    return None, damping


def _slopes(
    follower: Follower, values: Tensor, stands: list[Stand], rest: Tensor, stopped: Callable[[], bool]
) -> Tensor | None:
    """The derivative of how far each number strayed by each value, (numbers, values); None where stopped."""
    shift = -SHIFT.get(stands[0].x.dtype, SHIFT[torch.float32])
    found: list[Tensor] = []
    for k in range(len(values)):
        if stopped():
            return None
        aside = values.clone()
        aside[k] += shift
        there = follower.follow(aside, follower.known(stands, aside, k))[-1]
        found.append((follower.strayed(there) - rest) / shift)
    return torch.stack(found, 1)


def _secant(beyond: Tensor, before: tuple[Tensor, Tensor, Tensor], slope: Tensor, rest: Tensor, down: Tensor) -> Tensor:
    """What the curvature has beside that of Gauss and Newton, after a step."""
    step, slope_before, down_before = before
    change = down - down_before
    along = float(change @ step)
    if along <= 0:
        return beyond
    miss = down - (slope_before.T @ rest).cpu() - beyond @ step
    both = torch.outer(miss, change)
    return beyond + (both + both.T) / along - float(miss @ step) / along**2 * torch.outer(change, change)
