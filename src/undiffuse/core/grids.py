"""Times to sample on: grids that fall from noise to data."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import LEAST, ROUNDING, Schedule


class Grid(ABC):
    """Times to sample on: steps + 1 numbers in float64 that fall from noise to 0."""

    @abstractmethod
    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """The grid, (steps + 1,)."""


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
        noisiest, least = _noise(schedule).exp()
        high = noisiest.clamp(max=self.sigma_max) ** (1 / self.rho)
        low = least.clamp(min=self.sigma_min) ** (1 / self.rho)
        return _ends(schedule.time(-2 * self.rho * _line(high, low, _positive(steps)).log()))


@dataclass(frozen=True)
class Logistic(Grid):
    """log(sigma/alpha) at even quantiles of a logistic law:  sigma/alpha = center (q / (1 - q))^spread,
    q even from t = 1 down to 0, where sigma = 0.

    Dense around `center`, where data takes shape, with no cut at either end;
    center = spread = 1 is even in flow matching's t.
    Where a schedule jumps at 0 and the last q but one lies below its lowest noise, q is even down to that noise.
    As many steps as the schedule's table has: the table itself.
    The defaults are chosen by measurement (benchmarks/accuracy.py); they suit data of about unit spread.
    """

    center: float = 1.7
    spread: float = 1.3

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        if steps == schedule.steps:
            return Even()(schedule, steps)
        start, least = torch.sigmoid((_noise(schedule) - math.log(self.center)) / self.spread)
        q = _line(start, torch.maximum(start / _positive(steps), least), steps)
        return _ends(schedule.time(-2 * (math.log(self.center) + self.spread * torch.logit(q))), start=1.0)


@dataclass(frozen=True)
class Listed(Grid):
    """Given times that fall to 0, such as those that `undiffuse tune RUN variance --steps` finds.

    Raises Refused for times that do not fall inside [0, 1] to 0, and for another number of steps.
    """

    times: tuple[float, ...]

    def __post_init__(self) -> None:
        falls = all(s < t for t, s in pairwise(self.times))
        if len(self.times) < 2 or not falls or self.times[0] > 1 + ROUNDING or self.times[-1] != 0:
            raise Refused(f"listed times fall from at most 1 to 0, at least two of them; not {self.times}")

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        if _positive(steps) != len(self.times) - 1:
            raise Refused(f"{len(self.times) - 1} steps are listed, not {steps}; take another grid for those")
        return torch.tensor(self.times, dtype=torch.float64).clamp(max=1)


def _positive(steps: int) -> int:
    if steps < 1:
        raise Refused(f"sampling needs at least 1 step, not {steps}")
    return steps


def _more_than_one(grid: str, steps: int) -> None:
    """Raises Refused for a single step of a grid that counts from the clean end."""
    if steps == 1:
        raise Refused(f"{grid} with 1 step would see the cleanest step only; take trailing")


def _noise(schedule: Schedule) -> Tensor:
    """log(sigma/alpha) at t = 1 and at the least noise, (2,): -infinity unless the schedule jumps at 0."""
    return -schedule.log_snr(torch.tensor([1.0, LEAST], dtype=torch.float64)) / 2


def _line(start: Tensor, end: Tensor, points: int) -> Tensor:
    """`points` even numbers from start to end; a single one is the start."""
    return start + (end - start) * torch.arange(points, dtype=torch.float64) / max(points - 1, 1)


def _ends(times: Tensor, start: float | None = None) -> Tensor:
    """The times, at most 1, with 0 behind them, and if wished exactly `start` in front."""
    times = torch.cat([times.clamp(max=1), torch.zeros(1, dtype=torch.float64)])
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
