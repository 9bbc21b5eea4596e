"""How often a classifier of noisy samples tells the class, at every noise level, of data that it has not seen."""

import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse import __version__
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation import sources
from undiffuse.evaluation.metrics.metric import verdict
from undiffuse.evaluation.record import EVALUATION
from undiffuse.models.classifier import LabelModel
from undiffuse.sampling.plan import batches
from undiffuse.storage.files import write_json

LEVELS, WIDEST = 10, 9.0  # noise levels, and the largest log-SNR
COUNT = 2000  # items at most


@dataclass(frozen=True)
class Readings:
    """One number a noise level, sigma/alpha, which rises: the shares of held-out and of training items whose class is
    the likeliest, and the mean of -log p(class) in nats. about: what evaluation.json says of it; warning: why to be
    careful.
    """

    noise: list[float]
    held_out: list[float]
    train: list[float]
    nats: list[float]
    about: dict[str, Any]
    warning: str = ""

    def save(self, folder: Path) -> list[str]:
        """Write evaluation.json; returns its name."""
        write_json(folder / EVALUATION, self.about)
        return [EVALUATION]


def evaluate_classifier(model: LabelModel, which: str | None = None, seed: int = 0, command: str = "") -> Readings:
    """Read held-out items, or other data that is new to the run, at LEVELS noise levels, each with the same noise.

    In evaluation.json `accuracy` is the mean over the levels, and its floor that of items that it was trained on.
    Raises Refused for data without the classes that it knows.
    """
    real, started = sources.against(model, which), time.perf_counter()
    if real.held_out.labels is None:
        raise Refused(
            f"{which or 'the data'} have not the classes that the classifier knows: {', '.join(model.classes)}"
        )
    schedule = model.classifier.process.schedule
    ends = schedule.log_snr(torch.tensor([1e-4, 1.0], dtype=torch.float64)).clamp(-WIDEST, WIDEST)
    times = schedule.time(torch.linspace(float(ends[0]), float(ends[1]), LEVELS, dtype=torch.float64)).clamp(min=1e-6)
    noise = (-schedule.log_snr(times) / 2).exp().tolist()
    (held_out, nats), (train, _) = (_read(model, part, times, seed) for part in (real.held_out, real.train))
    count = min(COUNT, len(real.held_out))
    judged = verdict(sum(held_out) / LEVELS, sum(train) / LEVELS, better="higher", count=count, seed=seed)
    about = {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "count": count,
        "seconds": round(time.perf_counter() - started, 2),
        "against": which or f"held-out part of {real.held_out.name}",
        "step": model.facts.get("step"),
        "levels": {"noise": noise, "accuracy": held_out, "accuracy_train": train, "nats": nats},
        "warnings": [real.warning] if real.warning else [],
        "metrics": {"accuracy": judged},
        "versions": {"undiffuse": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    return Readings(noise, held_out, train, nats, about, real.warning)


@torch.no_grad()
def _read(model: LabelModel, data: Dataset, times: Tensor, seed: int) -> tuple[list[float], list[float]]:
    """The share that is read rightly and the mean of -log p(class), at each time."""
    some = data.some(COUNT)
    x_0, labels = model.codec.encode(np.asarray(some.x)), torch.as_tensor(some.labels)
    right, nats = torch.zeros(2, len(times), dtype=torch.float32)
    for rows in torch.arange(len(x_0)).split(batches(model.shape)):
        part, label = x_0[rows].to(model.device), labels[rows].to(model.device)
        for i, t in enumerate(times):
            x_t = model.classifier.process.marginal(part, t).sample(Random(seed, rows))
            log_probs = model.classifier.log_probs(x_t, t).cpu()
            right[i] += (log_probs.argmax(1) == label.cpu()).sum()
            nats[i] -= log_probs.gather(1, label.cpu()[:, None]).sum()
    return (right / len(x_0)).tolist(), (nats / len(x_0)).tolist()
