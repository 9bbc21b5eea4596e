"""What plans of a run are tuned on: its own fine trajectories, or held-out data where it has none."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.from_data import examples, tensors
from undiffuse.conditions.label import LABEL
from undiffuse.core.errors import Refused
from undiffuse.core.named_parts import to
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.data.derived_conditions import of_model
from undiffuse.recipes import build
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.plan import at_once
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.session import Session, labels_in_turn
from undiffuse.tuning.fine import InBatches, some
from undiffuse.tuning.jump_times import LEAST as LEAST_ITEMS
from undiffuse.tuning.jump_times import JumpTuner
from undiffuse.tuning.times import LEAST, Tuner, refuse_jumps, refuse_many, tuner, tuning_calls

STREAM = 7  # its stream of random numbers
STARTS, MOST, SMALL = 96, 4096, 2**18  # starts: more where they are small, SMALL over the square of their numbers
ITEMS = 2000  # held-out items, where nobody says


@dataclass(frozen=True, eq=False)
class Opened:
    """A session, whose denoiser is asked in batches; noise (n, *shape) and its conditions; about how many calls of the
    network tuning needs at most, one a sample and step; and what makes the tuner, given what stops it.
    """

    session: Session
    asked: InBatches
    start: Tensor
    cond: Mapping[str, Any]
    calls: int
    tuner: Callable[[Callable[[], bool]], Tuner | JumpTuner]

    def seconds(self) -> float:
        """How long the calls take here, by one batch: the second one, since the first also prepares."""
        few = slice(min(len(self.start), self.asked.batch or len(self.start)))
        x, cond = self.start[few], some(self.cond, len(self.start), few)
        for _ in range(2):
            began = time.perf_counter()
            self.asked(x, 1.0, **cond)
        return (time.perf_counter() - began) / len(x) * self.calls


def opened(model: DenoisingGenerator, request: SampleRequest, steps: Sequence[int], starts: int | None) -> Opened:
    """A run opened to tune plans of these numbers of steps, guided as asked or as the recipe says.

    starts: trajectories, or held-out items. Raises Refused for too few of them, and for students of one grid.
    """
    refuse_jumps(model.denoiser)
    by = _by_items if model.denoiser.jumps == "data" else _by_trajectories
    return by(model, request, steps, starts)


def _by_trajectories(
    model: DenoisingGenerator, request: SampleRequest, steps: Sequence[int], starts: int | None
) -> Opened:
    numbers = torch.Size(model.denoiser.state_shape((1, *model.shape))).numel()
    count = max(STARTS, min(MOST, SMALL // numbers**2)) if starts is None else starts
    refuse_many(max(steps))
    if count < LEAST:
        raise Refused(f"--starts takes at least {LEAST}, not {count}")
    given = examples(model.conditions, _held_out(model).conditions, count) if set(model.conditions) - {LABEL} else {}
    asked = replace(request, n=count, conditions={**given, **request.conditions})
    session = model.open(labels_in_turn(model, asked))
    start = _noise(model, (count, *model.shape))
    batched = InBatches(session.denoiser, at_once(model))
    return Opened(
        session,
        batched,
        start,
        session.cond,
        tuning_calls(count, steps),
        lambda stopped: tuner(batched, start, session.cond, max(steps), stopped=stopped),
    )


def _by_items(model: DenoisingGenerator, request: SampleRequest, steps: Sequence[int], starts: int | None) -> Opened:
    held_out = _held_out(model)
    count = min(len(held_out), ITEMS if starts is None else starts)
    if count < LEAST_ITEMS:
        raise Refused(
            f"the times of a consistency function are found by the distance to held-out items, at least {LEAST_ITEMS} "
            f"of them, not {count}: give more by --starts, or hold more out (train.held_out)"
        )
    data = held_out.some(count)
    cond = {name: values.to(model.device) for name, values in tensors(model.conditions, data.conditions).items()}
    items = model.denoiser.state_of(model.codec.encode(np.asarray(data.x)).to(model.device))
    session = model.open(labels_in_turn(model, replace(request, n=1)))
    batched = InBatches(session.denoiser, at_once(model))
    return Opened(
        session,
        batched,
        _noise(model, items.shape),
        cond,
        JumpTuner.all_calls(count, steps),
        lambda stopped: JumpTuner(batched, items, cond, stopped),
    )


def _held_out(model: DenoisingGenerator) -> Dataset:
    """The data that training did not see; of a run that held nothing out, all."""
    loaded, held_out = of_model(model), build.training(model.recipe).held_out
    return loaded.split(held_out)[1] if held_out else loaded


def _noise(model: DenoisingGenerator, shape: Sequence[int]) -> Tensor:
    random = Random(build.training(model.recipe).seed).fold(STREAM)
    return to(model.denoiser.process.prior(model.denoiser.state_shape(tuple(shape))).sample(random), model.device)
