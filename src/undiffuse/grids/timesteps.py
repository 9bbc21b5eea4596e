"""Timesteps: entries of the table as the schedulers of diffusers space them."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid, more_than_one, on_table, positive
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True)
class Timesteps(Grid):
    """Table indices  leading: k (T // steps) + offset;  linspace: even from T - 1 to 0;  trailing: T - k T/steps - 1.

    spacing: of which kind. offset: of leading, diffusers' steps_offset. left_out: leading and linspace are made of so
    many steps more, the cleanest of which are left out (1 in its DPM-Solvers). rounded: false leaves the indices of
    linspace between those of the table, as its Euler and Heun do. first: the last step lands on the table's first entry
    in place of data (set_alpha_to_one = false, final_sigmas_type = "sigma_min").
    Raises Refused for an offset that leaves the table, and for a last step that would begin where it lands.
    Source: arXiv:2305.08891, table 2; diffusers' schedulers.
    """

    spacing: Literal["leading", "trailing", "linspace"] = "leading"
    offset: int = 0
    left_out: int = 0
    rounded: bool = True
    first: bool = False

    def __post_init__(self) -> None:
        if self.spacing not in _INDICES:
            raise Refused(f"timesteps are spaced {', '.join(_INDICES)}, not {self.spacing!r}")
        if self.offset < 0 or self.left_out < 0:
            raise Refused(f"offset and left_out are 0 or more, not {self.offset} and {self.left_out}")

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        length = schedule.steps or 1000
        if self.spacing == "leading":
            more_than_one("leading", positive(steps) + self.left_out)
        if steps + self.left_out > length:
            raise Refused(f"timesteps has at most {length - self.left_out} steps here, not {steps}")
        points = _INDICES[self.spacing](length, positive(steps) + self.left_out, self.offset)
        indices = (points.round() if self.rounded else points)[:steps]
        if float(indices[0]) > length - 1:
            raise Refused(f"offset = {self.offset} leaves a table of {length} with {steps} steps: take fewer steps")
        end = 1.0 if self.first else 0.0
        if self.first and float(indices[-1]) < 0.5:
            raise Refused(
                "the last step would begin where it lands, on the table's first entry: set offset = 1, or first = false"
            )
        return on_table(torch.cat([indices + 1, torch.tensor([end], dtype=torch.float64)]), length)


def _leading(length: int, steps: int, offset: int) -> Tensor:
    return torch.arange(steps, dtype=torch.float64).flip(0) * (length // steps) + offset


def _linspace(length: int, steps: int, offset: int) -> Tensor:
    return torch.linspace(length - 1, 0, steps, dtype=torch.float64)


def _trailing(length: int, steps: int, offset: int) -> Tensor:
    return (length - torch.arange(steps, dtype=torch.float64) * length / steps).round() - 1


_INDICES = {"leading": _leading, "trailing": _trailing, "linspace": _linspace}
