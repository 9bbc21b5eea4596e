"""Importance: times are drawn as often as their losses matter."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class Importance(TimeDistribution):
    """t with a chance that follows sqrt(E[loss^2]) over its last `recent` losses, mixed with an even share `uniform`.

    That is training's, which keeps the losses (see `History`); by itself, as in validation, it is uniform.
    Source: arXiv:2102.09672, eq. 18; 10 and 0.001 from its released code. Raises Refused for numbers out of range.
    """

    learned: ClassVar[bool] = True

    recent: int = 10
    uniform: float = 1e-3

    def __post_init__(self) -> None:
        if self.recent < 1 or not 0 < self.uniform <= 1:
            raise Refused(f"importance needs recent >= 1 and uniform in (0, 1], not {self.recent} and {self.uniform:g}")

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        return Uniform()(schedule, random, count)
