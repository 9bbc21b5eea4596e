"""Langevin dynamics: samples of a density from its score or its energy alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random

Score = Callable[[Tensor], Tensor]


def langevin(score: Score, x: Tensor, step: float, updates: int, random: Random, *, temperature: float = 1.0) -> Tensor:
    """x + step score(x) + sqrt(2 step temperature) noise, `updates` times.

    score: the gradient of log p, (batch, *shape) -> (batch, *shape). x: the start, which stays as it is.
    Update i draws from random.fold(i). As step falls and step * updates grows, the law tends to p^(1/temperature).
    NCSN writes a = 2 step (arXiv:1907.05600, eq. 4); arXiv:2006.09011 and the lectures write this.
    Raises Refused for a step that is not positive, a negative temperature and no updates.
    """
    if not step > 0 or temperature < 0 or updates < 1:
        raise Refused(
            f"langevin needs step > 0, temperature >= 0 and updates >= 1, not {step:g}, {temperature:g} and {updates}"
        )
    for i in range(updates):
        noise = random.fold(i).normal(tuple(x.shape), dtype=x.dtype, device=x.device)
        x = x + step * score(x) + (2 * step * temperature) ** 0.5 * noise
    return x


def stochastic_gradient_langevin(
    scores: Callable[[Tensor, Tensor], Tensor],
    count: int,
    x: Tensor,
    steps: Callable[[int], float],
    updates: int,
    random: Random,
    *,
    batch: int,
    prior: Score | None = None,
) -> Tensor:
    """x + a_i (prior(x) + count/batch sum of scores(x, rows)) + sqrt(2 a_i) noise: Langevin dynamics of a posterior
    that sees `batch` of its `count` data at a time.

    scores: called as scores(x, rows) with rows (batch,) int64, the data's indices, which differ from update to update;
    returns the sum of the gradients of log p(datum given x), of x's shape. prior: the gradient of log p(x); none: flat.
    steps: a_i of update i; a law without bias needs sum a_i infinite and sum a_i^2 finite, (a + i)^-0.55 for example.
    Source: Welling and Teh 2011, eq. 4 (their epsilon is 2 a). Raises Refused for a batch outside 1 ... count.
    """
    if not 1 <= batch <= count:
        raise Refused(f"a batch of stochastic-gradient Langevin has 1 to {count} of its {count} data, not {batch}")
    for i in range(updates):
        stream, size = random.fold(i), steps(i)
        rows = Random(stream.seed).fold(1).permutation(count)(torch.arange(batch))
        slope = count / batch * scores(x, rows)
        slope = slope if prior is None else slope + prior(x)
        noise = stream.fold(0).normal(tuple(x.shape), dtype=x.dtype, device=x.device)
        x = x + size * slope + (2 * size) ** 0.5 * noise
    return x


def score_of(energy: Callable[[Tensor], Tensor]) -> Score:
    """The score of p = exp(-energy) / Z by automatic differentiation; energy: (batch, *shape) -> (batch,)."""

    def score(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return -torch.autograd.grad(energy(x).sum(), x)[0]

    return score


def widened(variance: float, step: float) -> float:
    """variance / (1 - step / (2 variance)): what `langevin` leaves of N(0, variance) after many updates of this step.

    Raises Refused for a step of 2 variance or more, where the iteration diverges.
    """
    if step >= 2 * variance:
        raise Refused(
            f"langevin diverges on a normal of variance {variance:g} from step {2 * variance:g}, not {step:g}"
        )
    return variance / (1 - step / (2 * variance))
