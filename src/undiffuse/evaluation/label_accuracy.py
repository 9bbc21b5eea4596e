"""The accuracy of a classifier of noisy samples at every noise level, on held-out data."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.noisy_classifier import NoisyClassifier
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation import sources
from undiffuse.evaluation.metrics.metric import verdict
from undiffuse.evaluation.number_table import number_table
from undiffuse.evaluation.record import Recorded, written
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.plan import batches
from undiffuse.sampling.run import Run

LEVELS, WIDEST = 10, 9.0  # noise levels, and the largest log-SNR
COUNT = 2000  # items at most


@dataclass(frozen=True)
class Readings(Recorded):
    """One number a noise level, sigma/alpha, which rises: the shares of held-out and of training items whose class is
    the likeliest, and the mean of -log p(class) in nats.
    """

    noise: list[float]
    held_out: list[float]
    train: list[float]
    nats: list[float]

    def printed(self) -> Iterator[Any]:
        table = number_table(("noise level", "held out", "training items", "nats, held out"), left=0)
        for noise, unseen, seen, nats in zip(self.noise, self.held_out, self.train, self.nats, strict=True):
            table.add_row(f"{noise:.3g}", f"{100 * unseen:.1f} %", f"{100 * seen:.1f} %", f"{nats:.3f}")
        yield table
        yield "[dim]Items whose class is told, by sigma/alpha. What guides is the slope of log p(class).[/]"
        yield from self.warnings()


def read(model: Run, classifier: NoisyClassifier, asked: EvaluationRequest) -> Readings:
    """Read held-out items, or other data that is new to the run, at LEVELS noise levels, each with the same noise.

    In evaluation.json `accuracy` is the mean over the levels, and its floor that of items that it was trained on.
    Raises Refused for data without the classes that it knows.
    """
    which, seed, started = asked.against, asked.request.seed, time.perf_counter()
    real = sources.against(model, which)
    if real.held_out.labels is None:
        raise Refused(
            f"{which or 'the data'} have not the classes that the classifier knows: {', '.join(model.classes)}"
        )
    schedule = classifier.process.schedule
    ends = schedule.log_snr(torch.tensor([1e-4, 1.0], dtype=torch.float64)).clamp(-WIDEST, WIDEST)
    times = schedule.time(torch.linspace(float(ends[0]), float(ends[1]), LEVELS, dtype=torch.float64)).clamp(min=1e-6)
    noise = (-schedule.log_snr(times) / 2).exp().tolist()
    (held_out, nats), (train, _) = (_read(model, classifier, part, times, seed) for part in (real.held_out, real.train))
    count = min(COUNT, len(real.held_out))
    judged = verdict(sum(held_out) / LEVELS, sum(train) / LEVELS, better="higher", count=count, seed=seed)
    levels = {"noise": noise, "accuracy": held_out, "accuracy_train": train, "nats": nats}
    about = written(model, asked, real, {"accuracy": judged}, count, started, levels=levels)
    return Readings(about, noise, held_out, train, nats)


@torch.no_grad()
def _read(
    model: Run, classifier: NoisyClassifier, data: Dataset, times: Tensor, seed: int
) -> tuple[list[float], list[float]]:
    """The share that is read rightly and the mean of -log p(class), at each time."""
    some = data.some(COUNT)
    x_0, labels = model.codec.encode(np.asarray(some.x)), torch.as_tensor(some.labels)
    right, nats = torch.zeros(2, len(times), dtype=torch.float32)
    for rows in torch.arange(len(x_0)).split(batches(model.shape)):
        part, label = x_0[rows].to(model.device), labels[rows].to(model.device)
        for i, t in enumerate(times):
            x_t = classifier.process.marginal(part, t).sample(Random(seed, rows))
            log_probs = classifier.log_probs(x_t, t).cpu()
            right[i] += (log_probs.argmax(1) == label.cpu()).sum()
            nats[i] -= log_probs.gather(1, label.cpu()[:, None]).sum()
    return (right / len(x_0)).tolist(), (nats / len(x_0)).tolist()
