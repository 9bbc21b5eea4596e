"""How far a few-step run's samples lie from the ends of fine trajectories, its teacher's or its own."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.conditions.from_data import examples
from undiffuse.core import registry
from undiffuse.core.objective import Objective
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.session import Session, labels_in_turn
from undiffuse.training.batches import Batches

COUNT, STEPS = 32, 32  # samples, the same every time, and steps of a fine trajectory
TEACHER, OWN = "distance_to_teacher", "distance_to_fine_steps"


class ReferenceDistance:
    """sqrt(mean |x - x_ref|^2) / std of the data,  encoded: 0 where the samples are the same, 1 a deviation apart.

    x: the run's samples as its recipe draws them, from 32 draws of noise that stay the same. x_ref: where the default
    sampler of the process takes the objective's `reference` in 32 steps from the same noise, with the same conditions;
    a teacher's are drawn once. result: makes the run of a module and a step. unseen: held-out items; conditions: those
    of them.
    """

    def __init__(
        self,
        objective: Objective,
        result: Callable[[nn.Module, int], Any],
        unseen: Batches,
        conditions: Mapping[str, Any],
    ) -> None:
        self.objective, self._result, self._conditions = objective, result, conditions
        self._unseen = unseen
        self._ends: Tensor | None = None

    def __call__(self, averaged: nn.Module) -> dict[str, float]:
        """The distance of a run with these weights, under the name of what it is to; nothing without a reference."""
        reference = self.objective.reference(averaged)
        if reference is None:
            return {}
        run = self._result(averaged, 0)
        asked = SampleRequest(n=COUNT, conditions=examples(run.conditions, self._conditions, COUNT))
        session: Session = run.open(labels_in_turn(run, asked))
        first, *_, last = (state.x for state in session)
        if reference is averaged:
            return {OWN: self._between(last, self._fine(session, first))}
        if self._ends is None:
            self._ends = self._fine(replace(session, denoiser=reference), first)
        return {TEACHER: self._between(last, self._ends)}

    def _between(self, x: Tensor, ends: Tensor) -> float:
        return float((x - ends).double().square().mean().sqrt()) / self._spread

    def _fine(self, session: Session, start: Tensor) -> Tensor:
        """Where fine trajectories from this noise end."""
        process: Any = session.denoiser.process
        sampler = registry.get("samplers", process.default_sampler)()
        times = registry.get("grids", sampler.grid or process.default_grid)()(process.schedule, STEPS)
        times = torch.cat([session.times[:1], times[times < session.times[0]]])
        return deque(replace(session, sampler=sampler, times=times, start=start), maxlen=1).pop().x

    @cached_property
    def _spread(self) -> float:
        """The standard deviation of the numbers of held-out data, encoded; 1 where they have none."""
        some = self._unseen.encoded(torch.arange(min(1024, len(self._unseen))))
        found = float(some.double().std(correction=0))
        return found if found > 0 and math.isfinite(found) else 1.0
