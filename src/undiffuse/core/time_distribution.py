"""Times to train on, one for each sample: the interface of every distribution of them."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule


class TimeDistribution(ABC):
    """Times to train on, one a sample. learned: whether training draws them by the losses that it has seen."""

    learned: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        """The times, (count,) float64 in (0, 1], on the table's own points where the schedule is a table."""


def on_table(t: Tensor, schedule: Schedule, t_min: float) -> Tensor:
    """The table's next noisier time; without a table t in (0, 1) becomes t_min + (1 - t_min) t."""
    return (t * schedule.steps).ceil().clamp(min=1) / schedule.steps if schedule.steps else t_min + (1 - t_min) * t


def refuse_t_min(t_min: float, name: str) -> None:
    """Raises Refused for a least time outside [0, 1)."""
    if not 0 <= t_min < 1:
        raise Refused(f"{name} needs t_min in [0, 1), not {t_min:g}")
