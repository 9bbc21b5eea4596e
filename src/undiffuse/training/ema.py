"""Averages of the weights over training: what sampling uses."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Self

import numpy as np
import torch
from torch import nn

from undiffuse.core.errors import Refused
from undiffuse.networks.lora import frozen
from undiffuse.recipes.settings import EMA_STD, Train


def power(step: int, gamma: float) -> float:
    """The decay of the power-function average, beta = (1 - 1/t)^(gamma + 1): weights of step tau count as tau^gamma.

    step: t = 1, 2 ...; the first step is copied. Source: arXiv:2312.02696, sec. 3.1 (gamma 6.94
    averages over a tenth of the training time).
    """
    return (1 - 1 / step) ** (gamma + 1)


@cache
def gamma(std: float) -> float:
    """The exponent of the power function whose weights have this standard deviation, as a share of the training.

    std = (gamma + 1)^(1/2) (gamma + 2)^(-1) (gamma + 3)^(-1/2). Source: arXiv:2312.02696, sec. 3.1.
    """
    if not 0 < std < 12**-0.5:
        raise Refused(f"the length of an average is a share of the training between 0 and 0.288, not {std:g}")
    return float(np.roots([1, 7, 16 - std**-2, 12 - std**-2]).real.max())


def tenth(step: int) -> float:
    """(1 + n) / (10 + n) after n = step steps, 1, 2 ...: the ramp of arXiv:2011.13456's released code."""
    return (1 + step) / (10 + step)


def three_quarters(step: int) -> float:
    """1 - max(1, n - 1)^(-3/4) after n = step steps, 1, 2 ...: 0, 0, .405, .561 ..., so that the first two are copied.

    The ramp of arXiv:2303.04137's released code, whose counter is two steps behind: 1 - (1 + k)^(-3/4) with k = n - 2,
    and 0 up to there.
    """
    return 1 - max(1, step - 1) ** -0.75


RAMPS: dict[str, Callable[[int], float]] = {"none": lambda step: 1.0, "tenth": tenth, "power": three_quarters}


class EMA:
    """A copy of a module whose weights follow the original's average:  average = beta average + (1 - beta) weights.

    Weights that are frozen are shared with it.

    gamma: the power function's exponent, or decay: one beta for all steps (the copy then starts at the initial
    weights), or at most that with a ramp, "tenth" or "power".
    """

    def __init__(self, module: nn.Module, gamma: float | None, decay: float | None, ramp: str = "none") -> None:
        self.gamma, self.decay, self.ramp = gamma, decay, RAMPS[ramp]
        shared = {id(each): each for each in frozen(module)}
        self.module = copy.deepcopy(module, dict(shared)).eval().requires_grad_(False)
        buffers = zip(self.module.buffers(), module.buffers(), strict=True)
        moving = [(mine, theirs) for mine, theirs in buffers if id(theirs) not in shared]
        self._pairs = [
            (list(self.module.parameters()), list(module.parameters())),
            ([mine for mine, _ in moving], [theirs for _, theirs in moving]),
        ]

    @classmethod
    def of(cls, module: nn.Module, settings: Train) -> Self:
        """The average that the settings ask for: by default the power function."""
        if settings.ema_decay is not None:
            return cls(module, None, settings.ema_decay, settings.ema_ramp)
        return cls(module, gamma(EMA_STD) if settings.ema is None else settings.ema, None)

    def beta(self, step: int) -> float:
        """What stays of the average at this step, 1, 2 ..."""
        if self.decay is None:
            return power(step, self.gamma or 0.0)
        return min(self.decay, self.ramp(step))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after this step, 1, 2 ...; buffers are copied."""
        (mine, theirs), (my_buffers, their_buffers) = self._pairs
        torch._foreach_lerp_(mine, theirs, 1 - self.beta(step))  # pyright: ignore[reportPrivateImportUsage]
        if my_buffers:
            torch._foreach_copy_(my_buffers, their_buffers)  # pyright: ignore[reportPrivateImportUsage]
