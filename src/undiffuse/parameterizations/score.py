"""Score: the network predicts the score, times sigma."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.parameterization import Parameterization, needs_signal


@dataclass(frozen=True)
class Score(Parameterization):
    """F = sigma * score, the score of q(x_t):  x_0 = (x_t + sigma F) / alpha,
    so that F has unit size at every noise level.

    Refused where alpha = 0. Source: arXiv:2006.09011, technique 3 (score = network / sigma).
    """

    aliases: ClassVar[tuple[str, ...]] = ("score_prediction",)

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        needs_signal(alpha, "score")
        return 1 / alpha, sigma / alpha, torch.ones_like(alpha)
