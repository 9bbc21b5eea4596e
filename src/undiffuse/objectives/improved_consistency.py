"""Improved consistency: no averaged target, a robust distance, and levels drawn where they matter."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule
from undiffuse.grids.karras import Karras
from undiffuse.objectives.consistency_student import consistency_tables
from undiffuse.objectives.path_pair import PathPair, check_huber, pseudo_huber
from undiffuse.samplers.heun import Heun


@dataclass(frozen=True, eq=False)
class ImprovedConsistency(PathPair):
    """loss = (sqrt(|guess(x_t, t) - guess(x_s, s)|^2 + c^2) - c) / (sigma_t - sigma_s),  c = huber sqrt(d).

    s < t are neighbours of N levels, and a pair is drawn with the chance that a normal log-level lies between them:
    p in proportion to erf((ln sigma_t - mean)/(sqrt(2) std)) - erf((ln sigma_s - mean)/(sqrt(2) std)). N - 1 doubles in
    equal parts of the training, from `first` to at most `last`:
        N(k) = min(first 2^floor(k/K'), last) + 1,   K' = K / (floor(log2(last/first)) + 1).
    sigma: the level sigma/alpha. grid: the N levels, of which the least is the boundary. mean is negative: with the
    other sign the levels of data are hardly seen.
    With a teacher it is distillation by one step of the solver; see `PathPair`, which also says what is refused.
    Source: arXiv:2310.14189, sec. 3 and table 1.
    """

    distils: ClassVar[bool] = True
    aliases: ClassVar[tuple[str, ...]] = ("ict", "improved_consistency_training")

    solver: Sampler | None = field(default_factory=Heun)
    grid: Grid = field(default_factory=Karras)
    first: int = 10
    last: int = 1280
    mean: float = -1.1
    std: float = 2.0
    huber: float = 0.00054

    @classmethod
    def student(cls, tables: Mapping[str, Any], run: str, teacher: Any, to: int) -> Mapping[str, Mapping[str, Any]]:
        return consistency_tables(tables, to, name="improved_consistency", teacher=teacher)

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last or not 0 < self.std < math.inf or not math.isfinite(self.mean):
            raise Refused(
                "improved_consistency needs 1 <= first <= last pairs of levels, a finite mean and std > 0, not "
                f"{self.first}, {self.last}, {self.mean:g} and {self.std:g}"
            )
        check_huber(self.huber, "improved_consistency")

    @property
    def levels(self) -> int:
        """N as it is now."""
        doublings = math.floor(math.log2(self.last // self.first))
        return min(self.first * 2 ** math.floor(self.training.done * (doublings + 1)), self.last) + 1

    def chances(self, schedule: Schedule, times: Tensor) -> Tensor:
        """Of each pair of neighbours of falling times, (len(times) - 1,)."""
        below = torch.erf((-schedule.log_snr(times) / 2 - self.mean) / (math.sqrt(2) * self.std))
        return -below.diff() / (below[0] - below[-1])

    def pairs(self, schedule: Schedule, random: Random, count: int) -> tuple[Tensor, Tensor, float]:
        times = self.grid(schedule, self.levels)[:-1]
        i = torch.searchsorted(self.chances(schedule, times).cumsum(0), random.uniform((count,)))
        i = i.clamp(max=len(times) - 2)
        return times[i], times[i + 1], float(times[-1])

    def weighed(self, error: Tensor, size: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return pseudo_huber(error, size, self.huber) / (t - s)
