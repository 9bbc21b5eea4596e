"""The variational bound with infinitely many steps: an integral over log-SNR."""

from typing import Any

import torch
from torch import Tensor

from undiffuse.core import devices
from undiffuse.core.continuous_time_bound import rate
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.likelihood.bound import Bound, joined
from undiffuse.likelihood.question import Progress, has_tokens, parts, silent
from undiffuse.likelihood.terms import data, prior


@devices.on_cpu()
@torch.no_grad()
def continuous(
    denoiser: Denoiser,
    x_0: Tensor,
    *,
    points: int = 100,
    t_min: float | None = None,
    start: float = 1.0,
    decoder: Decoder | None = None,
    seed: int = 0,
    indices: Tensor | None = None,
    batch: int | None = None,
    progress: Progress = silent,
    **cond: Tensor,
) -> Bound:
    """The bound with infinitely many steps: 1/2 integral |x_0 - guess|^2 d SNR between its prior and reconstruction.

    The integral is taken over log-SNR at `points` random times of each datum, one in each of as many equal strata,
    which are the result's steps. It runs from `start` (where SNR = 0 from log-SNR -20), and ends at t_min (default: the
    table's first step, else 1e-4), where the reconstruction is N(guess, sigma^2 / alpha^2), in levels with a decoder.
    Tokens: the integral over t of `rates.rate`, and the reconstruction is the guess itself.
    Source: arXiv:2107.00630, eq. 17 to 19; arXiv:2310.16834. Raises Refused as `elbo` does, for rows, and for
    tokens on a schedule of steps.
    """
    x_0, process = data(denoiser, x_0, decoder), denoiser.process
    guess: Any
    tokens, schedule = has_tokens(denoiser), process.schedule
    if tokens and schedule.steps:
        raise Refused("the bound of tokens on a schedule of steps is that of the steps: take elbo")
    if denoiser.process.family == "mixed":
        raise Refused("the bound of rows is that of steps: take elbo")
    if points < 1:
        raise Refused(f"the integral needs at least 1 point, not {points}")
    last = t_min if t_min is not None else 1 / schedule.steps if schedule.steps else 1e-4
    if not 0 < last < start <= 1:
        raise Refused(f"the integral runs between 0 < t_min < start <= 1, not t_min = {last} and {start}")
    ends = torch.tensor([start, last], dtype=torch.float64)
    ends = ends if tokens else schedule.log_snr(ends).clamp(min=-20)
    edges = torch.linspace(float(ends[0]), float(ends[1]), points + 1, dtype=torch.float64)
    done, found = 0, list[tuple[Tensor, ...]]()
    for _, x, random, conditions in parts(x_0, seed, indices, batch, cond):
        terms = torch.zeros(len(x), points, dtype=torch.float64, device=x.device)
        for i in range(points):
            level = edges[i] + (edges[i + 1] - edges[i]) * random.fold(i, 1).uniform((len(x),))
            t = level if tokens else schedule.time(level)
            x_t = process.marginal(x, t).sample(random.fold(i))
            guess = denoiser(x_t, t, **conditions)
            if tokens:
                each = rate(process, x, x_t, guess, t)
            else:
                each = 0.5 * schedule.log_snr(t).exp().to(x.device) * guess.error(x).double()
            terms[:, i] = (edges[i + 1] - edges[i]).abs() * each
            done += len(x)
            progress(done, len(x_0) * (points + 1))
        x_t = process.marginal(x, last).sample(random.fold(-2))
        guess = denoiser(x_t, last, **conditions)
        if not tokens:
            alpha, sigma = schedule.at(last, x)
            guess = Normal(guess.mean, (sigma / alpha) ** 2)
        rebuilt = -(decoder.log_prob(x, guess) if decoder else guess.log_prob(x))
        done += len(x)
        progress(done, len(x_0) * (points + 1))
        end = prior(process, x, torch.tensor(start, dtype=torch.float64))
        found.append((end, terms, rebuilt, torch.full_like(end, torch.nan)))
    return joined(found, edges if tokens else schedule.time(edges), x_0, decoder, denoiser)
