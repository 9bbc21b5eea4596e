"""Ordinary differential equations to a tolerance, each sample of a batch with steps of its own."""

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from undiffuse.core.broadcast import column, factor

# Dormand and Prince's pair of orders 5 and 4: nodes, slopes' weights, and the difference of the two results.
_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_WEIGHTS = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

Slope = Callable[[Tensor, Tensor, Tensor], Tensor]
Norm = Callable[[Tensor], Tensor]


class UnsolvedError(Exception):
    """The solver took as many steps as it may, or found none that is small enough."""


def rms(error: Tensor) -> Tensor:
    """The root mean square over a sample's elements: (batch,)."""
    return error.flatten(1).double().square().mean(1).sqrt()


def solve(
    slope: Slope,
    y: Tensor,
    start: float,
    stop: float,
    *,
    rtol: float,
    atol: float,
    most: int,
    norm: Norm = rms,
    stay: bool = False,
    moved: Callable[[float], None] = lambda share: None,
) -> Tensor:
    """y at `stop`, from y (batch, *shape) at `start`, with dy/du = slope(y, u, rows), by orders 5 and 4.

    The error of one step, divided by atol + rtol |y| and measured by `norm`, is kept below 1. Every sample has its own
    u and its own steps, so it does not depend on the batch that it is in. It leaves the batch when it has arrived;
    stay: it does not, for a slope that must see all samples at once.
    slope: sees the samples `rows` (n,) of the batch with y (n, *shape) at u (n,), float64 on the CPU.
    moved: hears the share of the way that is done. Raises UnsolvedError after `most` steps, and where no step is small
    enough. Source: Dormand and Prince 1980; the first step as in Hairer, Norsett and Wanner, II.4.
    """
    way, towards, end = abs(stop - start), (1.0 if stop > start else -1.0), torch.empty_like(y)
    rows, u = torch.arange(len(y)), torch.full((len(y),), start, dtype=torch.float64)
    first = slope(y, u, rows)
    h = _first_step(slope, y, u, rows, first, towards, way, rtol, atol, norm)
    for _ in range(most):
        left = (stop - u).abs()
        h = torch.minimum(h, left)
        slopes, ahead, ahead_by = [first], y, towards * h
        for node, weights in zip(_NODES[1:], _WEIGHTS[1:], strict=True):
            ahead = y + factor(ahead_by, y) * _combined(weights, slopes)
            slopes.append(slope(ahead, u + node * ahead_by, rows))
        size = atol + rtol * torch.maximum(y.abs(), ahead.abs())
        error = norm(factor(h, y) * _combined(_ERROR, slopes) / size).detach().cpu().nan_to_num(nan=torch.inf)
        good = (error <= 1) & (left > 0)
        y, first = (torch.where(column(good, old), new, old) for new, old in ((ahead, y), (slopes[-1], first)))
        u = torch.where(good & (h == left), stop, torch.where(good, u + ahead_by, u))
        h = h * (0.9 * error.clamp(min=1e-10) ** -0.2).clamp(0.2, 5.0)
        on = u != stop
        moved(1 - float((stop - u).abs().sum()) / (way * len(end)))
        if not bool(on.any()):
            return end.index_put((rows.to(y.device),), y)
        if float(h[on].min()) < 1e-12 * way:
            raise UnsolvedError(f"no step is small enough at {float(u[on][h[on].argmin()]):g}")
        if not stay and not bool(on.all()):
            keep = on.to(y.device)
            end = end.index_put((rows.to(y.device),), y)
            rows, u, h, y, first = rows[on], u[on], h[on], y[keep], first[keep]
    raise UnsolvedError(f"not done after {most:,} steps")


def _first_step(
    slope: Slope,
    y: Tensor,
    u: Tensor,
    rows: Tensor,
    first: Tensor,
    towards: float,
    way: float,
    rtol: float,
    atol: float,
    norm: Norm,
) -> Tensor:
    """A step for each sample whose error should be about a hundredth of what is allowed, (batch,)."""
    size = atol + rtol * y.abs()
    value, speed = (norm(each / size).detach().cpu() for each in (y, first))
    trial = (0.01 * value / speed).nan_to_num(nan=1e-6).clamp(1e-6 * way, 0.1 * way)
    moved = slope(y + factor(towards * trial, y) * first, u + towards * trial, rows)
    bend = norm((moved - first) / size).detach().cpu() / trial
    most = torch.maximum(speed, bend).nan_to_num(nan=torch.inf).clamp(min=1e-10)
    return torch.minimum(100 * trial, (0.01 / most) ** 0.2).clamp(1e-6 * way, way)


def _combined(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    terms = [weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight]
    return reduce(torch.add, terms)  # one after the other: the order of a sum over a stack depends on the batch
