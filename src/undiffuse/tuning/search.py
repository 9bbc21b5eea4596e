"""The values of a way of stepping, moved until few steps end nearest to the fine trajectory."""

from collections.abc import Callable

import torch
from torch import Tensor

from undiffuse.tuning.followers import Follower, Stand

ROUNDS = 8
SHIFT = {torch.float64: 1e-4, torch.float32: 1e-2}  # of log(sigma/alpha), for a derivative by difference
DAMPING = (0.1, 0.2, 5.0)  # at first, its factor after a step that gains, and after one that does not
TRIALS = 6  # steps that are tried in one round, each shorter


def improved(
    follower: Follower,
    values: Tensor,
    rounds: int = ROUNDS,
    tolerance: float = 1e-2,
    advance: Callable[[float], None] = lambda share: None,
) -> tuple[Tensor, list[Stand]]:
    """The values of a follower, moved, and the stands that they lead to.

    Newton's method on the ends' squared error, damped. The derivative by one value comes from differences, and needs
    only the steps behind it. The curvature is that of Gauss and Newton and a secant estimate of the rest, which matters
    where the error stays large. Stops after so many rounds, or where one gains less than this share.
    Source: the algorithm NL2SOL, Dennis, Gay and Welsch 1981, doi:10.1145/355958.355965.
    """
    stands = follower.follow(values)
    rest = follower.strayed(stands[-1])
    eye = torch.eye(len(values), dtype=torch.float64)
    beyond = torch.zeros_like(eye)
    before: tuple[Tensor, Tensor, Tensor] | None = None
    damping, gains, loses = DAMPING
    for done in range(rounds if len(values) else 0):
        advance(done / rounds)
        slope = _slopes(follower, values, stands, rest)
        down = (slope.T @ rest).cpu()
        if before is not None:
            beyond = _secant(beyond, before, slope, rest, down)
        error = float(rest.square().sum())
        if error == 0:
            break
        curvature = (slope.T @ slope).cpu() + beyond
        for _ in range(TRIALS):
            new = values + torch.linalg.solve(curvature + damping * error * eye, -down)
            if bool((follower.times(new).diff() < 0).all()):
                tried = follower.follow(new)
                now = follower.strayed(tried[-1])
                if float(now.square().sum()) < error:
                    break
            damping *= loses
        else:
            break
        damping *= gains
        values, stands, rest, before = new, tried, now, (new - values, slope, down)
        if float(rest.square().sum()) > (1 - tolerance) * error:
            break
    advance(1.0)
    return values, stands


def _slopes(follower: Follower, values: Tensor, stands: list[Stand], rest: Tensor) -> Tensor:
    """The derivative of how far each number strayed by each value, (numbers, values)."""
    shift = -SHIFT.get(stands[0].x.dtype, SHIFT[torch.float32])
    times = follower.times(values)
    found: list[Tensor] = []
    for k in range(len(values)):
        aside = values.clone()
        aside[k] += shift
        there = follower.follow(aside, follower.known(stands, times, k, shift))[-1]
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
