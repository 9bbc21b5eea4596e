"""AdamW: Adam whose weight decay is apart from the gradient; the default."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import nn

from undiffuse.core.errors import Refused
from undiffuse.core.optimiser import Optimiser


@dataclass(frozen=True)
class AdamW(Optimiser):
    """w -= lr (m / (sqrt(v) + eps) + weight_decay w), m and v running means of the gradient and of its square.

    betas: how much of m and v is kept at each step. Raises Refused for betas outside [0, 1) and a negative decay or
    eps. Source: arXiv:1711.05101, alg. 2.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise Refused(f"optimiser.betas must be two numbers of 0 or more and below 1, not {self.betas!r}")
        if not (0 <= self.weight_decay < inf and 0 <= self.eps < inf):
            raise Refused(
                f"optimiser.weight_decay and eps must be 0 or more, not {self.weight_decay:g} and {self.eps:g}"
            )

    def over(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        fused = all(p.device.type in ("cuda", "cpu") for p in parameters)
        return torch.optim.AdamW(
            parameters, lr=lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=fused
        )
