"""How well a model guesses the data at every noise level, beside the best guess that is linear."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.random import Random
from undiffuse.drawing.draw import LABEL
from undiffuse.model.model import Model
from undiffuse.model.plan import batches

LEVELS, WIDEST = 16, 9.0  # noise levels, and the largest log-SNR shown


@dataclass(frozen=True)
class Errors:
    """Mean squared errors of the guess, one a noise level, in the codec's units; log_snr rises."""

    log_snr: list[float]
    held_out: list[float]
    train: list[float]
    linear: list[float]


def errors(
    model: Model,
    held_out: tuple[np.ndarray, np.ndarray | None],
    train: tuple[np.ndarray, np.ndarray | None],
    count: int = 256,
) -> Errors:
    """E |x_0 - guess(x_t)|^2 a dimension, for `count` held-out and training items (x, labels) with the same noise.

    Where training items are guessed much better than held-out ones, the model has learnt them by heart.
    """
    schedule = model.denoiser.process.schedule
    ends = schedule.log_snr(torch.tensor([1.0, 1e-4], dtype=torch.float64)).clamp(-WIDEST, WIDEST)
    times = schedule.time(torch.linspace(float(ends[0]), float(ends[1]), LEVELS, dtype=torch.float64)).clamp(min=1e-6)
    if schedule.steps:
        times = ((times * schedule.steps).round().clamp(min=1) / schedule.steps).unique().flip(0)
    levels = schedule.log_snr(times)
    parts = [
        (model.codec.encode(x[:count]), None if labels is None else torch.from_numpy(labels[:count]))
        for x, labels in (held_out, train)
    ]
    unseen, learned = ([_error(model, x, labels, float(t)) for t in times] for x, labels in parts)
    return Errors(levels.tolist(), unseen, learned, linear(model.codec.encode(train[0][:2000]), levels))


def linear(x: Tensor, log_snr: Tensor) -> list[float]:
    """The error of the best linear guess: the mean of lambda / (1 + lambda SNR) over the principal variances lambda."""
    flat = x.flatten(1).double()
    centred = flat - flat.mean(0)
    thin = centred if len(flat) > flat.shape[1] else centred.T  # either way the same variances: take the smaller matrix
    variances = torch.linalg.eigvalsh(thin.T @ thin / len(flat)).clamp(min=0)
    return [float((variances / (1 + variances * snr)).sum() / flat.shape[1]) for snr in log_snr.exp()]


@torch.no_grad()
def _error(model: Model, x_0: Tensor, labels: Tensor | None, t: float) -> float:
    model.denoiser.eval()
    told = labels if LABEL in model.conditions else None
    total = 0.0
    for rows in torch.arange(len(x_0)).split(batches(model.shape)):
        part = x_0[rows].to(model.device)
        x_t = model.denoiser.process.marginal(part, t).sample(Random(0, rows))
        cond = {} if told is None else {LABEL: told[rows].to(model.device)}
        guess = model.denoiser(x_t, t, **cond).mean
        total += float((guess - part).double().square().sum())
    return total / x_0.numel()
