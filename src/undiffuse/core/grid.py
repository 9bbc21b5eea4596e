"""Times to sample on: the interface of every grid, and what grids share."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import LEAST, Schedule


class Grid(ABC):
    """Times to sample on: steps + 1 numbers in float64 that fall from noise to 0."""

    @abstractmethod
    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """The grid, (steps + 1,)."""


def positive(steps: int) -> int:
    """The number of steps; raises Refused below 1."""
    if steps < 1:
        raise Refused(f"sampling needs at least 1 step, not {steps}")
    return steps


def more_than_one(grid: str, steps: int) -> None:
    """Raises Refused for a single step of a grid that counts from the clean end."""
    if steps == 1:
        raise Refused(f"{grid} with 1 step would see the cleanest step only; take trailing")


def noise_ends(schedule: Schedule) -> Tensor:
    """log(sigma/alpha) at t = 1 and at the least noise, (2,): -infinity unless the schedule jumps at 0."""
    return -schedule.log_snr(torch.tensor([1.0, LEAST], dtype=torch.float64)) / 2


def line(start: Tensor, end: Tensor, points: int) -> Tensor:
    """`points` even numbers from start to end; a single one is the start."""
    return start + (end - start) * torch.arange(points, dtype=torch.float64) / max(points - 1, 1)


def ending_at_data(times: Tensor, start: float | None = None) -> Tensor:
    """The times, at most 1, with 0 behind them, and if wished exactly `start` in front."""
    times = torch.cat([times.clamp(max=1), torch.zeros(1, dtype=torch.float64)])
    if start is not None:
        times[0] = start
    return times


def on_table(indices: Tensor, length: int) -> Tensor:
    """The table's times i/T; raises Refused if a step would be visited twice."""
    if bool((indices.diff() >= 0).any()):
        raise Refused(
            f"{len(indices) - 1} steps on a table of {length} would visit a step twice; take fewer, or another grid"
        )
    return indices / length
