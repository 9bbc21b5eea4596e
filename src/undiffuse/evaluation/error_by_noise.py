"""The error of a model's guess at every noise level, beside that of the best linear guess."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.from_data import completed, known
from undiffuse.core.named_parts import elements
from undiffuse.core.random import Random
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.plan import at_once

LEVELS, WIDEST = 16, 9.0  # noise levels, and the largest log-SNR shown
SYMBOLS = 2048


@dataclass(frozen=True)
class Errors:
    """Mean errors of the guess, one a noise level; log_snr rises. what: squared error in the codec's units, or of
    tokens cross-entropy in nats. plain: the error of a simple guess, which `simple` names; empty if it is not known.
    """

    log_snr: list[float]
    held_out: list[float]
    train: list[float]
    plain: list[float]
    what: str = "squared error of the guess"
    simple: str = "best linear guess"


def errors(
    model: DenoisingGenerator,
    held_out: tuple[np.ndarray, Mapping[str, Any]],
    train: tuple[np.ndarray, Mapping[str, Any]],
    count: int = 256,
) -> Errors:
    """E |x_0 - guess(x_t)|^2 a dimension, of tokens -E log guess(x_0), for `count` held-out and training items (x,
    conditions) with the same noise.

    A much lower error on training items than on held-out ones means memorisation.
    """
    schedule = model.denoiser.process.schedule
    ends = schedule.log_snr(torch.tensor([1.0, 1e-4], dtype=torch.float64)).clamp(-WIDEST, WIDEST)
    times = schedule.time(torch.linspace(float(ends[0]), float(ends[1]), LEVELS, dtype=torch.float64)).clamp(min=1e-6)
    if schedule.steps:
        times = ((times * schedule.steps).round().clamp(min=1) / schedule.steps).unique().flip(0)
    levels = schedule.log_snr(times)
    parts = [_encoded(model, x, told, count) for x, told in (held_out, train)]
    unseen, learned = ([_error(model, x, told, float(t)) for t in times] for x, told in parts)
    if model.codec.mixed:
        return Errors(levels.tolist(), unseen, learned, [], "squared error or cross-entropy of the guess, a column")
    first, _ = _encoded(model, *train, 2000)
    with torch.no_grad():
        first = model.denoiser.state_of(first.to(model.device)).cpu()
    if first.is_floating_point():
        return Errors(levels.tolist(), unseen, learned, linear(first, levels))
    plain = frequent(model.denoiser.process, first, times)
    what, simple = "cross-entropy of the guess, nats a token", "guess that sees one token"
    return Errors(levels.tolist(), unseen, learned, plain, what, simple)


def _encoded(
    model: DenoisingGenerator, x: np.ndarray, told: Mapping[str, Any], count: int
) -> tuple[Tensor, dict[str, Any]]:
    """The first items, encoded, and their conditions."""
    cond = known(model.conditions, {name: values[:count] for name, values in told.items()})
    cond = completed(model.codec, model.conditions, cond)
    return model.codec.encode(x[:count], **model.codec.told(cond)), cond


def linear(x: Tensor, log_snr: Tensor) -> list[float]:
    """The error of the best linear guess: the mean of lambda / (1 + lambda SNR) over the principal variances lambda."""
    flat = x.flatten(1).double()
    centred = flat - flat.mean(0)
    thin = centred if len(flat) > flat.shape[1] else centred.T  # either way the same variances: take the smaller matrix
    variances = torch.linalg.eigvalsh(thin.T @ thin / len(flat)).clamp(min=0)
    return [float((variances / (1 + variances * snr)).sum() / flat.shape[1]) for snr in log_snr.exp()]


def frequent(process: Any, x: Tensor, times: Tensor) -> list[float]:
    """H(x_0^i given x_t^i) in nats for tokens as frequent as in x: the error of a guess that sees one token and knows
    how frequent each is; empty where there are too many symbols.
    """
    symbols = process.vocabulary
    if symbols > SYMBOLS:
        return []
    share = torch.bincount(x.flatten().cpu(), minlength=symbols).double() / x.numel()
    every = torch.arange(symbols)[:, None]
    both = [share[:, None] * process.marginal(every, t).mean[:, 0] for t in times]  # x_0 by x_t
    return [float(torch.xlogy(p.sum(0), p.sum(0)).sum() - torch.xlogy(p, p).sum()) for p in both]


@torch.no_grad()
def _error(model: DenoisingGenerator, x_0: Tensor, told: Mapping[str, Any], t: float) -> float:
    model.denoiser.eval()
    total = 0.0
    for rows in torch.arange(len(x_0)).split(at_once(model)):
        part = model.denoiser.state_of(x_0[rows].to(model.device))
        x_t = model.denoiser.process.marginal(part, t).sample(Random(0, rows))
        cond = {name: values[rows].to(model.device) for name, values in told.items()}
        total += float(model.denoiser(x_t, t, **cond).error(part).double().sum())
    return total / (len(x_0) * elements(model.denoiser.state_of(x_0[:1].to(model.device))))
