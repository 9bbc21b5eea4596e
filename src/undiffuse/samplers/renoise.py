"""Renoise: trust the guess, forget where it came from, add fresh noise."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.families import ANY, KEEP
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class Renoise(Sampler):
    """keep = 0:  x_s = alpha_s guess + sigma_s noise, the multistep sampling of consistency models.

    Exact for a denoiser that draws from p(x_0 given x_t) or maps to the trajectory's end;
    for a mean it shrinks the data's spread.
    Source: arXiv:2303.01469, alg. 1.
    """

    families: ClassVar[frozenset[str]] = ANY
    needs: ClassVar[frozenset[str]] = KEEP

    aliases: ClassVar[tuple[str, ...]] = ("consistency", "cm", "lcm")

    @property
    def batch_times(self) -> bool:
        return True

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        nothing = torch.zeros((), dtype=torch.float64)
        return denoiser.process.bridge(x_t, denoiser(x_t, t, **cond), s, t, nothing), None
