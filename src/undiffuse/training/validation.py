"""How well a module does on data it never trained on: the same items and noise every time, so that numbers compare."""

from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.core.objective import Batch, Objective
from undiffuse.core.random import Random
from undiffuse.objectives.timed import Timed
from undiffuse.training.batches import Batches

ITEMS = 1024  # at most so many held-out items are looked at
LEVELS, RANGE = 16, 12.0  # noise levels of the histogram, and the largest log-SNR on it
TOGETHER = 4  # levels in one call: with no gradients it takes less memory than a step of training
VALIDATE, DRAWN = 3, 9  # its streams of random numbers: all, and that of conditions


class Validation:
    """The objective's mean on held-out items, each with its own fixed noise level and noise; nothing is hidden."""

    def __init__(self, objective: Objective, data: Batches) -> None:
        self.objective = objective
        items = torch.arange(min(ITEMS, len(data)))
        self._chunks = list(items.split(data.size))
        self._data, self._random = data, data.random.fold(VALIDATE)

    def __call__(self, module: nn.Module) -> float:
        """The mean loss."""
        with torch.no_grad():
            losses = [self.objective.loss(module, *self._batch(part)) for part in self._chunks]
        return float(torch.cat(losses).double().mean())

    def levels(self, denoiser: Any, objective: Timed) -> dict[str, list[float]]:
        """The mean loss at noise levels evenly spaced in log-SNR, noisiest first: {"log_snr": [...], "loss": [...]}."""
        schedule = denoiser.process.schedule
        ends = schedule.log_snr(torch.tensor([1.0, 1e-4], dtype=torch.float64)).clamp(-RANGE, RANGE)
        times = schedule.time(torch.linspace(float(ends[0]), float(ends[1]), LEVELS, dtype=torch.float64)).clamp(
            min=1e-6
        )
        which, losses = self._chunks[0], []
        for some in torch.arange(LEVELS).split(1 if objective.whole_batch else TOGETHER):
            batch, random = self._batch(which.repeat(len(some)))
            own = random.at((some[:, None] * len(self._data) + which).flatten())  # noise of each level and item
            with torch.no_grad():
                at = objective.at(times[some].repeat_interleave(len(which)), denoiser, batch, own)
            losses += at.double().reshape(len(some), -1).mean(1).tolist()
        return {"log_snr": schedule.log_snr(times).tolist(), "loss": losses}

    def _batch(self, which: Tensor) -> tuple[Batch, Random]:
        data = self._data
        conditions = {name: values[which.to(values.device)] for name, values in data.conditions.items()}
        random = self._random.at(which)
        return Batch.of(data.encoded(which), data.drawn(conditions, random.fold(DRAWN)), data.codec), random
