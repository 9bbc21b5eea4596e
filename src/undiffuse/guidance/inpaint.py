"""Inpaint: the known part of a sample is put back, with fresh noise, after every step."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.families import ANY
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.guidance.wrapping import Steered
from undiffuse.operators.mask import fitting


@dataclass(frozen=True, eq=False)
class Inpaint(Steered):
    """x_s = mask x_s^known + (1 - mask) x_s,  x_s^known from q(x_s given known), x_s from the inner sampler's step.

    The plain replacement method: quick, and biased, since the unknown part of x_t never learns what the known part's
    noise was. For two numbers with correlation 0.8 the mean of one given the other comes out as 0.499, not 0.8, and the
    variance as 0.495, not 0.36. `RePaint` lowers the bias; `MMPS` and `Particles` have none in the cases they name.
    Tokens that are masked are known as they are, without noise, and then there is no bias, as with `Infill`.
    known: (batch or 1, *shape), encoded values or tokens; mask: broadcasts to it, 1 where known.
    Raises Refused for a mask that does not fit. Source: arXiv:2011.13456, app. I.2.
    """

    families: ClassVar[frozenset[str]] = ANY

    sampler: Sampler
    known: Tensor
    mask: Tensor

    default_steps: ClassVar[int] = 250

    @property
    def batch_times(self) -> bool:  # type: ignore[override]
        return self.sampler.batch_times

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        x_t = self._shown(denoiser, x_t)
        belief, memory = self.sampler.step(denoiser, x_t, t, s, memory, random=random.fold(0), **cond)
        return denoiser.process.point(self.replaced(denoiser, belief.sample(random.fold(1)), s, random.fold(2))), memory

    def replaced(self, denoiser: Denoiser, x_s: Tensor, s: Tensor, random: Random) -> Tensor:
        """A state at s with its known part put back."""
        keep = fitting(self.mask, x_s) > 0
        known = self.known.to(x_s).expand_as(x_s)
        if denoiser.process.absorbing is not None:
            return torch.where(keep, known, x_s)
        return torch.where(keep, denoiser.process.marginal(known, s).sample(random), x_s)

    def _shown(self, denoiser: Denoiser, x_t: Tensor) -> Tensor:
        """x_t with its known tokens revealed, where the noise is a mask."""
        masked = denoiser.process.absorbing is not None
        return self.replaced(denoiser, x_t, torch.zeros((), dtype=torch.float64), Random(0)) if masked else x_t
