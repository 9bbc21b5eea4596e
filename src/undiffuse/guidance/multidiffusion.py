"""Windows: a model of small images guesses a larger one, piece by piece."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.guidance.wrapping import Guided


@dataclass(frozen=True)
class MultiDiffusion(Guided):
    """The mean of the guesses of all windows over a place, weighed by how far it lies from each window's edge.

    size: of a window along each of the last axes, the model's own; overlap: share of neighbouring windows that both
    see, in [0, 1); the last window of an axis ends at the edge. One call with all windows as a batch.
    Raises Refused for a canvas smaller than a window. Source: arXiv:2302.08113, eq. 5.
    """

    denoiser: Denoiser
    size: tuple[int, ...]
    overlap: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.overlap < 1 or not self.size or min(self.size) < 1:
            raise Refused(f"windows needs sizes >= 1 and an overlap in [0, 1), not {self.size} and {self.overlap:g}")

    def no_density(self) -> str:
        return "a mean over windows belongs to no one density"

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        axes = x_t.shape[-len(self.size) :]
        if any(length < size for length, size in zip(axes, self.size, strict=True)):
            raise Refused(f"a canvas of {tuple(axes)} is smaller than the model's window {self.size}")
        starts = [_starts(length, size, self.overlap) for length, size in zip(axes, self.size, strict=True)]
        places = [
            tuple(slice(start, start + size) for start, size in zip(corner, self.size, strict=True))
            for corner in product(*starts)
        ]
        batch = torch.cat([x_t[(..., *place)] for place in places])
        n = len(places)
        copies = {name: _copied(value, n) for name, value in cond.items()}
        guess: Any = self.denoiser(batch, _copied(torch.as_tensor(t, dtype=torch.float64), n), **copies)
        weight = torch.ones((), dtype=x_t.dtype, device=x_t.device)
        for size in self.size:
            ramp = torch.arange(1, size + 1, dtype=x_t.dtype, device=x_t.device)
            weight = weight[..., None] * torch.minimum(ramp, ramp.flip(0))
        total, weights = torch.zeros_like(x_t), torch.zeros(axes, dtype=x_t.dtype, device=x_t.device)
        for place, mean in zip(places, guess.mean.chunk(n), strict=True):
            total[(..., *place)] += weight * mean
            weights[place] += weight
        return Normal(total / weights, 0.0)


def _copied(value: Any, count: int) -> Any:
    """A batch behind itself, so often; one number for the whole batch as it is."""
    return value.repeat(count, *(1,) * (value.ndim - 1)) if isinstance(value, Tensor) and value.ndim else value


def _starts(length: int, size: int, overlap: float) -> list[int]:
    step = max(1, round(size * (1 - overlap)))
    return sorted({*range(0, length - size, step), length - size})
