"""Where a token stands, along any number of axes: fixed sines and cosines that are added, or rotary angles."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.networks.embeddings import positional


def coordinates(sizes: Sequence[int], base: Sequence[int], device: torch.device) -> list[Tensor]:
    """Where each place of a grid is along each axis, in row-major order, counted in places of the grid `base`.

    (i + 1/2) base/size - 1/2: another size spans what `base` spans, so that positions are interpolated; an empty
    base: the grid itself.
    """
    lines = [
        (torch.arange(size, dtype=torch.float32, device=device) + 0.5) * (wanted / size) - 0.5
        for size, wanted in zip(sizes, base or sizes, strict=True)
    ]
    return [each.flatten() for each in torch.meshgrid(*lines, indexing="ij")]


def sines(places: Sequence[Tensor], width: int) -> Tensor:
    """Sines and cosines of the coordinates, the last axis first: (places, width) in float32.

    Each axis has an equal share of the width, [sin(p f_i), cos(p f_i)], f_i = 10000^(-i / half), see `positional`;
    zeros where the axes do not divide the width. Source: arXiv:2212.09748, app. A (two axes, the width's first).
    """
    share = width // len(places)
    parts = [positional(axis, share, shift=0) for axis in reversed(places)]
    return F.pad(torch.cat(parts, dim=1), (0, width - share * len(places)))


def rotations(places: Sequence[Tensor], width: int) -> Tensor:
    """Cosines and sines of the angles that pairs of numbers are turned by: (2, places, width // 2) in float32.

    The pairs are shared out among the axes; pair i of m is turned by p 10000^(-i/m), p the coordinate.
    Source: arXiv:2104.09864; along one axis it is that paper's.
    """
    pairs, phases = width // 2, []
    for i, axis in enumerate(places):
        own = pairs // len(places) + (i < pairs % len(places))
        index = torch.arange(own, dtype=torch.float32, device=axis.device)
        phases.append(axis[:, None] * torch.exp(index * (-math.log(10000.0) / max(own, 1))))
    phase = torch.cat(phases, dim=1)
    return torch.stack([phase.cos(), phase.sin()])


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Each pair of numbers of x (..., length, width) turned by its place's angle, so that q k knows distances only."""
    cos, sin = turns.to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def behind(places: Sequence[Tensor], before: int) -> list[Tensor]:
    """Coordinates with those of what stands before the sequence: -1, -2 ... along every axis.

    So the first of it is as near with a text as without.
    """
    return [torch.cat([-1 - torch.arange(before, dtype=axis.dtype, device=axis.device), axis]) for axis in places]


class SinePositions(nn.Module):
    """Tokens plus a fixed table of sines and cosines, which is a buffer for the grid `base` (empty: for none)."""

    def __init__(self, base: Sequence[int], width: int, head: int) -> None:
        super().__init__()
        self.base, self.width = tuple(base), width
        table = sines(coordinates(base, base, torch.device("cpu")), width) if base else None
        self.register_buffer("table", table)

    def forward(self, h: Tensor, grid: tuple[int, ...], before: int) -> tuple[Tensor, Tensor | None]:
        """Tokens (batch, places, width) with their positions, and no angles."""
        own: Any = self.table
        table = own if grid == self.base else sines(coordinates(grid, self.base, h.device), self.width)
        return h + table.to(h.dtype), None


class RotaryPositions(nn.Module):
    """Tokens as they are, and the angles by which attention turns queries and keys."""

    def __init__(self, base: Sequence[int], width: int, head: int) -> None:
        super().__init__()
        self.base, self.head = tuple(base), head

    def forward(self, h: Tensor, grid: tuple[int, ...], before: int) -> tuple[Tensor, Tensor | None]:
        """Tokens (batch, places, width), and angles (2, before + places, head // 2)."""
        return h, rotations(behind(coordinates(grid, self.base, h.device), before), self.head)


class NoPositions(nn.Module):
    """Tokens as they are, and no angles: what is computed of a set knows no order."""

    def __init__(self, base: Sequence[int], width: int, head: int) -> None:
        super().__init__()

    def forward(self, h: Tensor, grid: tuple[int, ...], before: int) -> tuple[Tensor, Tensor | None]:
        """Tokens (batch, places, width), and no angles."""
        return h, None


POSITIONS = {"sine": SinePositions, "rotary": RotaryPositions, "none": NoPositions}
