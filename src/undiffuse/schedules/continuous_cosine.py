"""The cosine law in continuous time: an angle that turns evenly from data to noise."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.schedule import Schedule, VariancePreserving


@dataclass(frozen=True)
class ContinuousCosine(VariancePreserving):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2): nothing of the data is left at t = 1.

    Source: arXiv:2202.00512, sec. 2 (progressive distillation). Predict velocity or data with it:
    noise says nothing where alpha = 0.
    """

    def alpha(self, t: Tensor) -> Tensor:
        return torch.where(t.double() < 1, (math.pi / 2 * t.double()).cos(), 0.0)

    def sigma(self, t: Tensor) -> Tensor:
        return (math.pi / 2 * t.double()).sin()

    both = Schedule.both

    def log_alpha_bar(self, t: Tensor) -> Tensor:
        return 2 * self.alpha(t).log()

    def time(self, log_snr: Tensor) -> Tensor:
        return 2 / math.pi * (-log_snr.double() / 2).exp().atan()
