"""DDIM: take the noise that is there along, with as much fresh noise as wished."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class DDIM(Sampler):
    """keep = sqrt(sigma_s^2 - eta^2 v) / sigma_t, v the Markov reverse's variance.
    eta = 0: deterministic, first order; 1: DDPM.

    Source: arXiv:2010.02502, eq. 12 and 16. For tokens: multinomial DDIM (app. A).
    Raises Refused for eta outside [0, 1].
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise Refused(f"ddim needs eta in [0, 1], not {self.eta:g}")

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process = denoiser.process
        guess = denoiser(x_t, t, **cond).mean_only()
        return process.bridge(x_t, guess, s, t, process.keep(s, t, x_t, self.eta)), None
