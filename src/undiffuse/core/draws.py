"""Times to train on, drawn one for each sample."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule


class Draw(ABC):
    """Times to train on, one a sample."""

    @abstractmethod
    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        """The times, (count,) float64 in (0, 1], on the table's own points where the schedule is a table."""


@dataclass(frozen=True)
class Uniform(Draw):
    """t uniform on (t_min, 1); on a table of T steps t = i/T, i uniform in 1 ... T (arXiv:2006.11239, alg. 1;
    t_min arXiv:2011.13456, app. C).
    """

    t_min: float = 1e-5

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        return _on_table(random.uniform((count,)), schedule, self.t_min)


@dataclass(frozen=True)
class Importance(Draw):
    """t with a chance that follows sqrt(E[loss^2]) over its last `recent` losses, mixed with an even share `uniform`.

    That is training's, which keeps the losses (see `History`); by itself, as in validation, it is uniform.
    Source: arXiv:2102.09672, eq. 18; 10 and 0.001 from its released code. Raises Refused for numbers out of range.
    """

    recent: int = 10
    uniform: float = 1e-3

    def __post_init__(self) -> None:
        if self.recent < 1 or not 0 < self.uniform <= 1:
            raise Refused(f"importance needs recent >= 1 and uniform in (0, 1], not {self.recent} and {self.uniform:g}")

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        return Uniform()(schedule, random, count)


SWAPS = ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF), (16, 0x0000FFFF))


@dataclass(frozen=True)
class Stratified(Draw):
    """One shared offset, and the bits of a sample's index in reverse: t_i = frac(u + 0.i_0 i_1 i_2 ...).

    A batch of 2^k covers (0, 1) evenly, as with i/count in place of the bits (arXiv:2107.00630, app. I.1), and so does
    every half, quarter ... of it, which is why a part of a batch need not know the whole.
    """

    t_min: float = 1e-5

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        offset = Random(random.seed).uniform((1,))
        indices = torch.arange(count) if random.indices is None else random.indices.cpu()
        for shift, mask in SWAPS:  # neighbouring bits, then pairs, fours ... change places
            indices = (indices >> shift & mask) | (indices & mask) << shift
        return _on_table((offset + indices.double() / 2**32) % 1, schedule, self.t_min)


@dataclass(frozen=True)
class LogNormal(Draw):
    """log(sigma/alpha) normal with this mean and std (arXiv:2206.00364, table 1:
    -1.2 and 1.2), clipped to the schedule's range.
    """

    mean: float = -1.2
    std: float = 1.2

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        level = self.mean + self.std * random.normal((count,), dtype=torch.float64)
        return _on_table(schedule.time(-2 * level), schedule, 0.0).clamp(min=1e-9)


@dataclass(frozen=True)
class LogUniform(Draw):
    """log(sigma/alpha) uniform between the schedule's noise at t_min and at t = 1, log-SNR clipped to +-limit.

    The density of t is in proportion to -d log SNR/dt where log-SNR lies inside +-limit, and 0 elsewhere. So on a
    continuous schedule the mean of plain noise weighting, times the range of log-SNR drawn from, is the likelihood's
    integral over that range (arXiv:2101.09258, sec. 5). On a table it is the level nearest in log-SNR, and the mean is
    the trapezoidal rule's over the table's levels from t_min on.
    """

    t_min: float = 1e-5
    limit: float = 20.0

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        times = torch.tensor([self.t_min, 1.0], dtype=torch.float64)
        if schedule.steps:
            first = max(1, math.ceil(self.t_min * schedule.steps))
            times = torch.arange(first, schedule.steps + 1, dtype=torch.float64) / schedule.steps
        levels = schedule.log_snr(times).clamp(-self.limit, self.limit)
        drawn = levels[0] + (levels[-1] - levels[0]) * random.uniform((count,))
        if not schedule.steps:
            return schedule.time(drawn).clamp(min=1e-9)
        halfway = (levels[1:] + levels[:-1]) / 2
        return times[torch.searchsorted(-halfway, -drawn)]


def _on_table(t: Tensor, schedule: Schedule, t_min: float) -> Tensor:
    """The table's next noisier time; without a table t in (0, 1) becomes t_min + (1 - t_min) t."""
    return (t * schedule.steps).ceil().clamp(min=1) / schedule.steps if schedule.steps else t_min + (1 - t_min) * t
