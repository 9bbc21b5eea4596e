"""EDM's churn: a little fresh noise before a deterministic step."""

import math
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.distribution import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.gaussian import Gaussian
from undiffuse.core.process import Process
from undiffuse.core.random import Random


def churn(
    process: Gaussian, x_t: Tensor, t: Tensor, gamma: float, noise: float, random: Random
) -> tuple[Tensor, Tensor]:
    """Raise sigma/alpha by the factor 1 + gamma, gamma <= sqrt(2) - 1, with noise of std `noise`:
    the new batch and its time.

    Source: arXiv:2206.00364, alg. 2 (gamma = S_churn / steps). Nothing happens for gamma = 0 or where the schedule has
    no noisier time.
    """
    schedule = process.schedule
    later = schedule.time(schedule.log_snr(t) - 2 * math.log1p(min(gamma, math.sqrt(2) - 1)))
    if gamma == 0 or float(later) <= float(t):
        return x_t, t
    alpha_t, alpha_later = schedule.alpha(t), schedule.alpha(later)
    noisier = process.bridge(x_t, process.point(x_t), later, t, keep=alpha_later / alpha_t)
    return Normal(noisier.mean, torch.as_tensor(noisier.var) * noise**2).sample(random), later


def gaussian(process: Process, sampler: str) -> Any:
    """The process, if it has a probability-flow ODE; raises Refused by name otherwise."""
    if not callable(getattr(process, "noise", None)):
        raise Refused(
            f"{sampler} follows the probability-flow ODE of a Gaussian process; "
            f"{type(process).__name__} has none: use ancestral or ddim"
        )
    return process
