"""Classifier-free guidance: extrapolate from the guess without the condition through the guess with it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution import Distribution
from undiffuse.guidance.extrapolation import Extrapolation, Interval


@dataclass(frozen=True)
class ClassifierFree(Extrapolation):
    """guess = without.blend(with, weight) = without + weight (with - without):
    1 is the plain conditional, 0 the unconditional.

    The paper counts w = weight - 1. without: another denoiser for the unconditional guess; none: this one with its
    conditions dropped, both in one call. interval, rescale, parallel, largest: see `Extrapolation`.
    The guided guess is not the one of the tilted density p(x given c)^weight p(x)^(1 - weight): see the docs on
    guidance. Source: arXiv:2207.12598, eq. 6.
    """

    denoiser: Denoiser
    without: Denoiser | None = None
    weight: float = 1.0
    interval: Interval | None = None
    rescale: float = 0.0
    parallel: float = 1.0
    largest: float = math.inf

    def __post_init__(self) -> None:
        self._check()

    def pair(self, x_t: Any, t: Tensor | float, cond: Mapping[str, Any]) -> tuple[Distribution, Distribution]:
        if self.without is not None:
            return self.without(x_t, t), self.denoiser(x_t, t, **cond)
        t = torch.as_tensor(t, dtype=torch.float64)
        twice = {name: _twice(value) for name, value in cond.items()}
        x_twice = _twice(x_t)
        some: Tensor = (
            next(iter(x_twice.values())) if isinstance(x_twice, dict) else x_twice
        )  # any part tells the batch
        n = len(some) // 2
        dropped = torch.arange(2 * n, device=some.device) >= n
        if "drop" in cond:
            dropped = dropped | twice.pop("drop")
        both = self.denoiser(x_twice, _twice(t) if t.ndim else t, drop=dropped, **twice)
        return both.rows(slice(n, None)), both.rows(slice(n))


def _twice(batch: Any) -> Any:
    """A batch, or each part of one, behind itself."""
    if isinstance(batch, Mapping):
        return {name: _twice(part) for name, part in batch.items()}
    return torch.cat([batch, batch])
