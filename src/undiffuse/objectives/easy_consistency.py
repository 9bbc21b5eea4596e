"""Easy consistency: a diffusion model becomes a consistency model by bringing two times closer and closer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.consistency_student import consistency_tables
from undiffuse.objectives.path_pair import PathPair, check_huber, level, pseudo_huber
from undiffuse.time_distributions.log_normal import LogNormal


@dataclass(frozen=True, eq=False)
class EasyConsistency(PathPair):
    """loss = (sqrt(|guess(x_t, t) - guess(x_s, s)|^2 + c^2) - c) / (sigma_t - sigma_s),  c = huber sqrt(d).

    sigma_t is drawn, and the other level follows from it:
        sigma_s = sigma_t max(0, 1 - (1 + k sigmoid(-b sigma_t)) / q^a),   a = first ... last,
    each a in an equal part of the training. With a = 0, sigma_s is 0 and the target is the item: that is diffusion, so
    that training goes on from a teacher without a jump, or begins from nothing.
    sigma: the level sigma/alpha. times: how t is drawn. With a solver, x_s is one step of it on the teacher.
    See `PathPair`, which also says what is refused.
    Source: arXiv:2406.14548, sec. 3.3 and app. A.
    """

    distils: ClassVar[bool] = True
    aliases: ClassVar[tuple[str, ...]] = ("ect", "easy_consistency_tuning")

    times: TimeDistribution = field(default_factory=lambda: LogNormal(-1.1, 2.0))
    q: float = 2.0
    k: float = 8.0
    b: float = 1.0
    first: int = 0
    last: int = 8
    huber: float = 0.00054

    @classmethod
    def student(cls, tables: Mapping[str, Any], run: str, teacher: Any, to: int) -> Mapping[str, Mapping[str, Any]]:
        return consistency_tables(tables, to, name="easy_consistency", teacher=run, first=1)

    def __post_init__(self) -> None:
        if not 1 < self.q < math.inf or not 0 <= self.k < math.inf or not 0 <= self.b < math.inf:
            raise Refused(f"easy_consistency needs q > 1, k >= 0 and b >= 0, not {self.q:g}, {self.k:g} and {self.b:g}")
        if not 0 <= self.first <= self.last:
            raise Refused(f"easy_consistency needs 0 <= first <= last, not {self.first} and {self.last}")
        check_huber(self.huber, "easy_consistency")

    @property
    def exponent(self) -> int:
        """a as it is now."""
        return min(self.last, self.first + math.floor(self.training.done * (self.last - self.first + 1)))

    def earlier(self, sigma: Tensor) -> Tensor:
        """sigma_s of sigma_t as it is now."""
        gap = (1 + self.k * torch.sigmoid(-self.b * sigma)) / self.q**self.exponent
        return sigma * (1 - gap).clamp(min=0)

    def pairs(self, schedule: Schedule, random: Random, count: int) -> tuple[Tensor, Tensor, float]:
        t = self.times(schedule, random, count)
        sigma = self.earlier(level(schedule, t))
        return t, torch.where(sigma > 0, schedule.time(-2 * sigma.log()), 0.0), 0.0

    def weighed(self, error: Tensor, size: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return pseudo_huber(error, size, self.huber) / (t - s)
