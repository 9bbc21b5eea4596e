"""Unmask: reveal first what the guess is surest of, as many tokens a step as the schedule says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.tokens import Categories
from undiffuse.core.errors import Refused
from undiffuse.core.families import MASK, TOKENS
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler

Order = Literal["confidence", "margin", "random"]


@dataclass(frozen=True)
class Unmask(Sampler):
    """Every masked token is drawn from the guess; the best by `order` are revealed, floor(n sigma_s/sigma_1) stay.

    n: how many were masked at the start, sigma_1 the noise there. order: "confidence" is log p of the token drawn
    (MaskGIT); "margin" how far the two likeliest are apart (arXiv:2502.06768); "random" takes any, which alone keeps
    the data's law: the others reveal what is sure together, and their samples are less diverse than the data.
    randomness: Gumbel noise on the order, so much of it times sigma_s/sigma_1: none in the end.
    A temperature of the tokens themselves is `truncation`'s. Raises Refused for noise without a mask.
    Source: arXiv:2202.04200, its iterative decoding.
    """

    masks: ClassVar[bool] = False
    families: ClassVar[frozenset[str]] = TOKENS
    needs: ClassVar[frozenset[str]] = MASK

    order: Order = "confidence"
    randomness: float = 0.0

    aliases: ClassVar[tuple[str, ...]] = ("maskgit",)
    default_steps: ClassVar[int] = 64

    def __post_init__(self) -> None:
        if self.order not in _ORDERS or not self.randomness >= 0:
            raise Refused(
                f"unmask has order {', '.join(_ORDERS)} and randomness >= 0, not {self.order!r} and {self.randomness:g}"
            )

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        hidden = x_t == process.absorbing
        sigma_t, sigma_s = 1 - process.schedule.alpha(t), 1 - process.schedule.alpha(s)
        count, first = memory or (hidden.flatten(1).sum(1), sigma_t)
        left = (count * float(sigma_s / first) + 1e-9).floor()  # so many stay masked
        if bool((hidden.flatten(1).sum(1) <= left).all()):
            return process.point(x_t), (count, first)
        guess: Any = denoiser(x_t, t, **cond)
        drawn = guess.sample(random.fold(0), hidden)
        score = _ORDERS[self.order](guess, drawn, random.fold(1)).double()
        if self.randomness:
            u = random.fold(2).uniform(tuple(x_t.shape), x_t.device)
            score = score - self.randomness * float(sigma_s / first) * (-u.log()).log()
        worst_first = score.masked_fill(~hidden, torch.inf).flatten(1).argsort(dim=1, stable=True).argsort(dim=1)
        stays = (worst_first < left[:, None]).reshape(x_t.shape)
        return process.point(torch.where(hidden & ~stays, drawn, x_t)), (count, first)


def _margin(guess: Categories, drawn: Tensor, random: Random) -> Tensor:
    best = guess.log_probs.topk(2).values.exp()
    return best[..., 0] - best[..., 1]


_ORDERS: dict[str, Callable[[Categories, Tensor, Random], Tensor]] = {
    "confidence": lambda guess, drawn, random: guess.log_each(drawn),
    "margin": _margin,
    "random": lambda guess, drawn, random: random.uniform(tuple(drawn.shape), drawn.device),
}
