"""Clamp: a guess is moved to the nearest place that data can have, such as the embedding of a word."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.broadcast import factor
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.guidance.extrapolation import Interval, check_interval, within
from undiffuse.guidance.wrapping import Guided


@dataclass(frozen=True)
class Clamp(Guided):
    """guess = nearest(guess) where sigma/alpha lies in the interval (low, high], else the denoiser's own.

    nearest: called with means (batch, *shape), gives the nearest place of data in their shape, as
    `EmbeddingHead.snapped` does. Early in the chain a guess is the mean of what could be, and its nearest place says
    little: an interval such as (0, 1] clamps late. Source: arXiv:2205.14217, sec. 4.3 (the clamping trick).
    """

    denoiser: Denoiser
    nearest: Callable[[Tensor], Tensor]
    interval: Interval | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_interval(self.interval)

    def no_density(self) -> str:
        return "clamping moves the guesses away from the means of any one density"

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        guess: Any = self.denoiser(x_t, t, **cond)
        share = within(self.interval, self.process.schedule, t, 1.0, otherwise=0.0)
        if not isinstance(share, Tensor):
            return replace(guess, mean=self.nearest(guess.mean)) if share else guess
        where = factor(share, guess.mean) > 0
        return replace(guess, mean=torch.where(where, self.nearest(guess.mean), guess.mean))
