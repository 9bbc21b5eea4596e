"""Uncertainty: learns how large a loss is at each noise level, and weighs the levels so that all count the same."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.objective import RUN, Batch, Objective, Player
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.denoising import Denoising
from undiffuse.objectives.timed import Timed

WAVES = 64  # frequencies of the noise level
LARGEST = 20.0  # log-SNR beyond which levels are as at it


@dataclass(frozen=True)
class Uncertainty(Timed):
    """loss = L exp(-u) + u, L the base objective's loss and u a learned number of each noise level, 0 at first.

    At the best u = log E[L], so that each level's loss is 1 on average, whatever weighting L has. u is a linear layer
    on sines and cosines of -log SNR / 8, which is EDM's ln(sigma)/4; it takes steps with the run and is not saved with
    the model. Validation shows the loss L itself, too.
    base: the objective whose loss is weighed; by default denoising with weighting "edm".
    Source: arXiv:2312.02696, eq. 14 to 16.
    """

    base: Timed = field(default_factory=lambda: Denoising("edm"))

    @property
    def times(self) -> TimeDistribution:  # type: ignore[override]
        return self.base.times

    @property
    def inner(self) -> Objective:  # type: ignore[override]
        return self.base

    @property
    def masks(self) -> bool:  # type: ignore[override]
        return self.base.masks

    @property
    def jumps(self) -> frozenset[str]:  # type: ignore[override]
        return self.base.jumps

    @cached_property
    def log_variance(self) -> nn.Module:
        """u, of sines and cosines (batch, 2 WAVES)."""
        layer = nn.Linear(2 * WAVES, 1, dtype=torch.float32)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        return layer

    def players(self, model: Any) -> tuple[Player, ...]:
        return (Player(RUN, (model, self.log_variance)),)

    def after(self, model: Any, step: int) -> None:
        self.base.after(model, step)

    def state(self) -> dict[str, Tensor]:
        return self.base.state()

    def initial(self) -> nn.Module | None:
        return self.base.initial()

    def reference(self, model: Any) -> Denoiser | None:
        return self.base.reference(model)

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        loss = self.base.at(t, model, batch, random)
        u = self.uncertainty(model.process.schedule.log_snr(t).to(loss.device, torch.float32))
        return loss * (-u).exp() + u

    def uncertainty(self, log_snr: Tensor) -> Tensor:
        """u at these levels, (batch,)."""
        quantiles = (torch.arange(WAVES, dtype=torch.float32, device=log_snr.device) + 0.5) / WAVES
        frequencies = 2 * math.pi * math.sqrt(2) * torch.erfinv(quantiles)  # of Gaussian Fourier features
        phase = -log_snr.clamp(-LARGEST, LARGEST)[:, None] / 8 * frequencies
        return self.log_variance(torch.cat([phase.sin(), phase.cos()], dim=1)).float()[:, 0]

    @property
    def beside(self) -> Mapping[str, Objective]:
        return {"unweighted": self.base, **self.base.beside}
