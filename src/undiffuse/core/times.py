"""Times: grids to sample on, and draws to train on."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule


class Grid(ABC):
    """Times to sample on: steps + 1 numbers in float64 that fall from noise to 0."""

    @abstractmethod
    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """The grid, (steps + 1,)."""


class Draw(ABC):
    """Times to train on, one a sample."""

    @abstractmethod
    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        """The times, (count,) float64 in (0, 1], on the table's own points where the schedule is a table."""


@dataclass(frozen=True)
class Even(Grid):
    """t = 1 - i/steps."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        return torch.linspace(1, 0, _positive(steps) + 1, dtype=torch.float64)


@dataclass(frozen=True)
class Trailing(Grid):
    """Table indices round(T - i T/steps) - 1: always starts at pure noise (arXiv:2305.08891, table 2)."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        length = schedule.steps or 1000
        return _distinct(
            (length - torch.arange(_positive(steps) + 1, dtype=torch.float64) * length / steps).round(), length
        )


@dataclass(frozen=True)
class Leading(Grid):
    """Table indices 0, k, 2k ..., k = T // steps: DDIM's uniform spacing,
    which never visits the noisiest step (arXiv:2010.02502, released code).
    """

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        length = schedule.steps or 1000
        if _positive(steps) > length:
            raise Refused(f"leading has at most {length} steps here, not {steps}")
        _more_than_one("leading", steps)
        indices = torch.arange(steps, dtype=torch.float64).flip(0) * (length // steps)
        return _distinct(torch.cat([indices + 1, torch.zeros(1, dtype=torch.float64)]), length)


@dataclass(frozen=True)
class Linspace(Grid):
    """Table indices round(linspace(T - 1, 0, steps)): both ends of the table are visited (arXiv:2102.09672, sec. 4)."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        length = schedule.steps or 1000
        indices = torch.linspace(length - 1, 0, _positive(steps), dtype=torch.float64).round()
        return _distinct(torch.cat([indices + 1, torch.zeros(1, dtype=torch.float64)]), length)


@dataclass(frozen=True)
class Quadratic(Grid):
    """Table indices floor(linspace(0, sqrt(0.8 T), steps)^2): DDIM's quadratic spacing (arXiv:2010.02502, app. D.2).

    Raises Refused where the formula repeats an index, which the paper's code runs twice.
    """

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        length = schedule.steps or 1000
        _more_than_one("quadratic", _positive(steps))
        indices = (torch.linspace(0, math.sqrt(0.8 * length), steps, dtype=torch.float64) ** 2).floor().flip(0)
        return _distinct(torch.cat([indices + 1, torch.zeros(1, dtype=torch.float64)]), length)


@dataclass(frozen=True)
class LogSNR(Grid):
    """Even in log-SNR from t = 1 to t_min, then 0 (arXiv:2206.00927, sec. 3.3);
    log-SNR is clipped to +-limit where it is infinite.
    """

    t_min: float = 1e-3
    limit: float = 20.0

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        ends = schedule.log_snr(torch.tensor([1.0, self.t_min], dtype=torch.float64)).clamp(-self.limit, self.limit)
        return _ends(schedule.time(_line(ends[0], ends[1], _positive(steps))), start=1.0)


@dataclass(frozen=True)
class Karras(Grid):
    """sigma/alpha = (sigma_max^(1/rho) + i/(steps - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho, then 0;
    clipped to the schedule's range.

    Source: arXiv:2206.00364, eq. 5 (0.002, 80, 7).
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        ends = (-schedule.log_snr(torch.tensor([1.0, 1e-9], dtype=torch.float64)) / 2).exp()
        high = ends[0].clamp(max=self.sigma_max) ** (1 / self.rho)
        low = ends[1].clamp(min=self.sigma_min) ** (1 / self.rho)  # a schedule that jumps at 0 has a lowest noise
        return _ends(schedule.time(-2 * self.rho * _line(high, low, _positive(steps)).log()))


@dataclass(frozen=True)
class Logistic(Grid):
    """log(sigma/alpha) at even quantiles of a logistic law:  sigma/alpha = center (q / (1 - q))^spread,
    q even from t = 1 down to 0.

    Dense around `center`, where data takes shape, with no cut at either end;
    center = spread = 1 is even in flow matching's t.
    As many steps as the schedule's table has: the table itself.
    The defaults are chosen by measurement (benchmarks/accuracy.py); they suit data of about unit spread.
    """

    center: float = 1.7
    spread: float = 1.3

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        if steps == schedule.steps:
            return Even()(schedule, steps)
        noisiest = -schedule.log_snr(torch.tensor(1.0, dtype=torch.float64)) / 2
        start = torch.sigmoid((noisiest - math.log(self.center)) / self.spread)
        q = start * torch.linspace(1, 0, _positive(steps) + 1, dtype=torch.float64)
        times = schedule.time(-2 * (math.log(self.center) + self.spread * torch.logit(q)))
        times[0], times[-1] = 1.0, 0.0
        return times


@dataclass(frozen=True)
class Listed(Grid):
    """Given times that fall to 0, such as those that `undiffuse tune RUN variance --steps` finds.

    Raises Refused for times that do not fall inside [0, 1] to 0, and for another number of steps.
    """

    times: tuple[float, ...]

    def __post_init__(self) -> None:
        falls = all(s < t for t, s in pairwise(self.times))
        if len(self.times) < 2 or not falls or self.times[0] > 1 or self.times[-1] != 0:
            raise Refused(f"listed times fall from at most 1 to 0, at least two of them; not {self.times}")

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        if _positive(steps) != len(self.times) - 1:
            raise Refused(f"{len(self.times) - 1} steps are listed, not {steps}; take another grid for those")
        return torch.tensor(self.times, dtype=torch.float64)


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

    The density of t is that of -d log SNR/dt, so plain noise weighting becomes the likelihood's, up to the number
    log SNR(t_min) - log SNR(1) (arXiv:2101.09258, sec. 5).
    """

    t_min: float = 1e-5
    limit: float = 20.0

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        ends = schedule.log_snr(torch.tensor([1.0, self.t_min], dtype=torch.float64)).clamp(-self.limit, self.limit)
        t = schedule.time(ends[1] + (ends[0] - ends[1]) * random.uniform((count,)))
        return _on_table(t, schedule, 0.0).clamp(min=1e-9)


def _on_table(t: Tensor, schedule: Schedule, t_min: float) -> Tensor:
    """The table's next noisier time; without a table t in (0, 1) becomes t_min + (1 - t_min) t."""
    return (t * schedule.steps).ceil().clamp(min=1) / schedule.steps if schedule.steps else t_min + (1 - t_min) * t


def _positive(steps: int) -> int:
    if steps < 1:
        raise Refused(f"sampling needs at least 1 step, not {steps}")
    return steps


def _more_than_one(grid: str, steps: int) -> None:
    """Raises Refused for a single step of a grid that counts from the clean end."""
    if steps == 1:
        raise Refused(f"{grid} with 1 step would see the cleanest step only; take trailing")


def _line(start: Tensor, end: Tensor, points: int) -> Tensor:
    """`points` even numbers from start to end; a single one is the start."""
    return start + (end - start) * torch.arange(points, dtype=torch.float64) / max(points - 1, 1)


def _ends(times: Tensor, start: float | None = None) -> Tensor:
    """The times with 0 behind them, and if wished exactly `start` in front."""
    times = torch.cat([times, torch.zeros(1, dtype=torch.float64)])
    if start is not None:
        times[0] = start
    return times


def _distinct(indices: Tensor, length: int) -> Tensor:
    """The table's times i/T; raises Refused if a step would be visited twice."""
    if bool((indices.diff() >= 0).any()):
        raise Refused(
            f"{len(indices) - 1} steps on a table of {length} would visit a step twice; take fewer, or another grid"
        )
    return indices / length
