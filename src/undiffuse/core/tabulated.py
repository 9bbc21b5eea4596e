"""Schedules of T steps: a table of alpha-bars with straight lines between its entries."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import VariancePreserving


class Tabulated(VariancePreserving):
    """A variance-preserving schedule of T steps at t = i/T; between them alpha_bar is linear in t.

    alpha_bar(i/T) = table()[i - 1];  alpha_bar(0) = 1;  DDPM's index of the step i is i - 1.
    """

    @abstractmethod
    def table(self) -> np.ndarray:
        """The T values of alpha_bar, the cumulative products of 1 - beta, in float64."""

    @cached_property
    def _knots(self) -> Tensor:
        table = np.asarray(self.table(), np.float64)
        if (
            table.ndim != 1
            or not len(table)
            or not np.isfinite(table).all()
            or (np.diff(table, prepend=1.0) >= 0).any()
            or table[-1] < 0
        ):
            raise Refused(f"a table of alpha-bars must fall strictly from below 1 and end at 0 or above; got {table}")
        return torch.tensor(np.concatenate([[1.0], table]), dtype=torch.float64)

    def log_alpha_bar(self, t: Tensor) -> Tensor:
        return interpolate(self._knots, t).log()

    def time(self, log_snr: Tensor) -> Tensor:
        noise = (1 - self._knots).to(log_snr.device)  # sigma^2 at the knots: rising from 0
        target = torch.sigmoid(-log_snr.double()).clamp(max=noise[-1])
        right = torch.searchsorted(noise, target.contiguous()).clamp(1, len(noise) - 1)
        left = right - 1
        return (left + (target - noise[left]) / (noise[right] - noise[left])) / (len(noise) - 1)


def interpolate(table: Tensor, t: Tensor) -> Tensor:
    """The table's values at i/T, i = 0 ... T, with straight lines between them, at times t in [0, 1]; in float64."""
    table, last = table.to(t.device), len(table) - 1
    position = t.double() * last
    off = (position.round() - position).detach()
    position = position + torch.where(off.abs() < 1e-9, off, 0.0)  # (i/T) T is i, and the slope stays
    left = position.long().clamp(0, last - 1)
    share = position - left
    return table[left] * (1 - share) + table[left + 1] * share


def interpolate_at(knots: Tensor, values: Tensor, t: Tensor) -> Tensor:
    """Values between rising knots with straight lines, and the last one behind them, at t from the first knot on."""
    knots, values = knots.to(t.device), values.to(t.device)
    right = torch.searchsorted(knots, t.contiguous(), right=True).clamp(1, len(knots) - 1)
    left = right - 1
    slope = (values[right] - values[left]) / (knots[right] - knots[left])
    return torch.where(t >= knots[-1], values[-1], slope * (t - knots[left]) + values[left])


def products(betas: Sequence[float] | np.ndarray) -> np.ndarray:
    """alpha_bar_i = prod_{j <= i} (1 - beta_j), in float64; raises Refused for a beta outside (0, 1]."""
    array = np.asarray(betas, np.float64)
    if array.ndim != 1 or not len(array) or not ((array > 0) & (array <= 1)).all():
        raise Refused("every beta must lie in (0, 1], in a list of at least one")
    return np.cumprod(1 - array)


def check_steps(steps: int) -> None:
    """Raises Refused for a table without steps, and for one of more than a million."""
    if steps < 1:
        raise Refused(f"a schedule needs at least 1 step, not {steps}")
    if steps > 1_000_000:
        raise Refused(f"a schedule has at most 1,000,000 steps, not {steps:,}")


def check_betas(beta_start: float, beta_end: float) -> None:
    """Raises Refused for ends of a table of betas outside (0, 1)."""
    if not (0 < beta_start < 1 and 0 < beta_end < 1):
        raise Refused(f"betas must satisfy 0 < beta_start, beta_end < 1, not {beta_start:g} and {beta_end:g}")
