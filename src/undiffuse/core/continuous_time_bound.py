"""The bound of tokens in continuous time: what one moment costs where a guess stands for the data."""

from typing import Any

import torch
from torch import Tensor

from undiffuse.core.distribution.distribution import unpadded
from undiffuse.core.distribution.tokens import Categories
from undiffuse.core.errors import Refused
from undiffuse.core.schedule import Schedule, as_time

END = 1 - 1e-6  # a time beyond counts as this one: at 1 alpha may be 0, and rates are the limit of 0/0


def rate(
    process: Any, x_0: Tensor, x_t: Tensor, guess: Categories, t: Tensor | float, mask: Tensor | None = None
) -> Tensor:
    """The bound's density over t in nats, (batch,): KL(q(x_s given x_t, x_0) || p(x_s given x_t))/(t - s), s -> t.

    sum_{y != x_t} v(y) - u(y) + u(y) log(u(y)/v(y)),  u and v the rates at which x_t turns back into y under the data
    and under the guess:  u(y) = -alpha'/alpha noise(x_t) r(y),  r = p_t(y)/p_t(x_t) as in `ratios`. So it is score
    entropy, denoising and weighted by the diffusion (arXiv:2310.16834), and of a mask
    -alpha'/(1 - alpha) sum_masked -log p(x_0 given x_t), the continuous-time bound of arXiv:2406.07524 and
    arXiv:2406.04329, for which the guess is asked about x_0 and x_t alone.
    t: above 0, () or (batch,); 1 is the limit there. mask: which places count, see `Masked`. Raises
    Refused for a process without a noise vector.
    """
    if process.family != "tokens" or not process.keeps:
        raise Refused(f"{type(process).__name__} has steps and no continuous time: take the objective 'elbo'")
    x_0, x_t, t = x_0.long(), x_t.long(), as_time(t).clamp(max=END)
    alpha, sigma = process.chances(t, x_t)
    beta = falling(process.schedule, t, x_t) / alpha
    noise = torch.tensor(process.noise, dtype=torch.float64, device=x_t.device)
    same, here, there = x_0 == x_t, noise[x_t], noise[x_0]
    revealed, drawn = beta * alpha / sigma, beta * sigma  # v(y) = revealed p(y) + drawn noise(y) odds
    odds_true = torch.where(same, here / (alpha + sigma * here), 1 / sigma)
    p_here = guess.log_each(x_t).double().exp()
    odds = p_here * here / (alpha + sigma * here) + (1 - p_here) / sigma
    cost = beta * (odds - odds_true)
    to_data, log_data = revealed + drawn * there * odds_true, guess.log_each(x_0).double()
    if process.absorbing is not None:
        cost = cost + torch.where(same, 0.0, -to_data * log_data)
    else:
        guessed = _log(revealed * log_data.exp() + drawn * there * odds)
        cost = cost + torch.where(same, 0.0, to_data * (to_data.log() - guessed))
        parts = (each[..., None] for each in (revealed, drawn, odds, odds_true))
        cost = cost + _elsewhere(noise, x_0, x_t, guess, *parts)
    cost = torch.where(here > 0, cost, 0.0)
    return (cost if mask is None else unpadded(cost, mask)).flatten(1).sum(1)


def falling(schedule: Schedule, t: Tensor | float, like: Tensor) -> Tensor:
    """-alpha', shaped to multiply `like`, in float64; on a table alpha is a line between its times."""
    with torch.enable_grad():
        t = as_time(t).detach().clone().requires_grad_()
        slope = -torch.autograd.grad(schedule.alpha(t).sum(), t)[0]
    return (slope if slope.ndim == 0 else slope.reshape(-1, *(1,) * (like.ndim - 1))).to(like.device)


def _elsewhere(
    noise: Tensor, x_0: Tensor, x_t: Tensor, guess: Categories, revealed: Tensor, drawn: Tensor, odds: Tensor,
    odds_true: Tensor,
) -> Tensor:  # fmt: skip
    """sum u(y) log(u(y)/v(y)) over the y that are neither x_0 nor x_t, where u comes of noise alone."""
    y = torch.arange(len(noise), device=x_t.device)
    other = (noise > 0) & (y != x_0[..., None]) & (y != x_t[..., None])
    v = revealed * guess.mean.double() + drawn * noise * odds
    u = drawn * noise * odds_true
    return torch.where(other, u * (_log(u) - _log(v)), 0.0).sum(-1)


def _log(rates: Tensor) -> Tensor:
    """The logarithm, with no gradient where there is nothing."""
    return rates.clamp(min=1e-300).log()
