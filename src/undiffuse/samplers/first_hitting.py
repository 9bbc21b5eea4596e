"""First hitting: one token at a time, each at the very moment at which the process would reveal it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.families import MASK, TOKENS
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class FirstHitting(Sampler):
    """With n masks left at the noise sigma the next is revealed at sigma u^(1/n), u uniform: any of them, drawn from
    the guess at that moment.

    The reversed process itself in continuous time, without any error of steps; its law is the data's where the guess
    is exact. One call a token: from 1 to 0 as many as there are masks, in one step of the grid (the default); a finer
    grid shows the way and gives the same law.
    Raises Refused for noise without a mask. Source: arXiv:2409.02908, its first-hitting sampler.
    """

    masks: ClassVar[bool] = False
    families: ClassVar[frozenset[str]] = TOKENS
    needs: ClassVar[frozenset[str]] = MASK

    aliases: ClassVar[tuple[str, ...]] = ("fhs",)
    grid: ClassVar[str] = "even"
    default_steps: ClassVar[int] = 1

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        x, n = x_t.flatten(1), len(x_t)
        end = 1 - process.schedule.alpha(s.double())
        sigma = (1 - process.schedule.alpha(t.double())).expand(n)
        for i in range(x.shape[1]):
            hidden = x == process.absorbing
            left = hidden.sum(1).cpu()
            u = random.fold(i, 0).uniform((n,))
            sigma = torch.where(left > 0, sigma * u ** (1 / left.clamp(min=1).double()), 0.0)
            comes = (left > 0) & (sigma > end)
            if not bool(comes.any()):
                break
            moment = process.time(1 - torch.where(comes, sigma, end)).clamp(min=float(s), max=float(t))
            guess: Any = denoiser(x.reshape(x_t.shape), moment, **cond)
            which = random.fold(i, 1).uniform(tuple(x.shape), x.device).masked_fill(~hidden, -1.0).argmax(1)
            chosen = torch.zeros_like(hidden).scatter(1, which[:, None], True) & comes.to(x.device)[:, None]
            drawn = guess.sample(random.fold(i, 2), chosen.reshape(x_t.shape)).flatten(1)
            x = torch.where(chosen, drawn, x)
        return process.point(x.reshape(x_t.shape)), None
