"""Consistency: the guesses at two neighbouring noise levels of one path agree, so that one step does."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule
from undiffuse.grids.karras import Karras
from undiffuse.objectives.consistency_student import consistency_tables
from undiffuse.objectives.path_pair import PathPair
from undiffuse.samplers.heun import Heun


@dataclass(frozen=True, eq=False)
class ConsistencyObjective(PathPair):
    """loss = |guess(x_t, t) - target(x_s, s)|^2 / d  at neighbours s < t of N levels, drawn evenly.

    With a teacher this is consistency distillation, x_s one step of the solver; without one it is consistency training.
    The target is an average of the weights, target <- mu target + (1 - mu) weights after each step, and N grows over
    the training:
        N(k) = ceil(sqrt(k/K (last^2 - first^2) + first^2) - 1) + 1,   mu(k) = decay^((first - 1) / (N(k) - 1)).
    grid: the N levels, of which the least is the boundary. first, last: N at the beginning and at the end. decay: mu at
    the beginning; 0: the target is the model itself.
    The defaults are of training; distillation takes first = last = 40 and decay = 0.95.
    Raises Refused for numbers that make no sense; see `PathPair` for others.
    Source: arXiv:2303.01469, alg. 2 and 3, app. C; its s_1 is last - 1, and its mu_0^s_0 is decay.
    """

    distils: ClassVar[bool] = True
    aliases: ClassVar[tuple[str, ...]] = ("consistency_distillation", "consistency_training", "cd", "ct")

    solver: Sampler | None = field(default_factory=Heun)
    grid: Grid = field(default_factory=Karras)
    first: int = 2
    last: int = 151
    decay: float = 0.9025
    _average: nn.ModuleDict = field(default_factory=nn.ModuleDict, init=False, repr=False)

    @classmethod
    def student(cls, tables: Mapping[str, Any], run: str, teacher: Any, to: int) -> Mapping[str, Mapping[str, Any]]:
        return consistency_tables(tables, to, name="consistency", teacher=teacher, first=40, last=40, decay=0.95)

    def __post_init__(self) -> None:
        if not 2 <= self.first <= self.last or not 0 <= self.decay < 1:
            raise Refused(
                f"consistency needs 2 <= first <= last levels and a decay from 0 to below 1, not {self.first}, "
                f"{self.last} and {self.decay:g}"
            )

    @property
    def levels(self) -> int:
        """N as it is now."""
        low, high = self.first**2, self.last**2
        return math.ceil(math.sqrt(self.training.done * (high - low) + low) - 1) + 1

    @property
    def mu(self) -> float:
        """mu as it is now."""
        return self.decay ** ((self.first - 1) / (self.levels - 1))

    def pairs(self, schedule: Schedule, random: Random, count: int) -> tuple[Tensor, Tensor, float]:
        times = self.grid(schedule, self.levels)[:-1]
        i = random.integers(len(times) - 1, (count,))
        return times[i], times[i + 1], float(times[-1])

    def weighed(self, error: Tensor, size: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return error / size

    def target(self, model: Any) -> Any:
        return self._average["target"].train(model.training) if "target" in self._average else model

    def begin(self, model: Any, steps: int) -> None:
        super().begin(model, steps)
        if self.decay:
            self._average["target"] = copy.deepcopy(model).requires_grad_(False)

    def after(self, model: Any, step: int) -> None:
        mu = self.mu
        super().after(model, step)
        for target in self._average.values():
            for mine, its in zip(target.parameters(), model.parameters(), strict=True):
                mine.lerp_(its, 1 - mu)
            for mine, its in zip(target.buffers(), model.buffers(), strict=True):
                mine.copy_(its)

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), **self._average.state_dict()}
