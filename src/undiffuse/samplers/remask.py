"""Remask: revealed tokens are masked again now and then, so that mistakes can be mended."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.mixture import Mixed
from undiffuse.core.errors import Refused
from undiffuse.core.families import MASK, TOKENS
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class Remask(Sampler):
    """A revealed token is masked with chance r, a masked one revealed with chance 1 - (sigma_s - alpha_t r)/sigma_t.

    Every r up to min(1, sigma_s/alpha_t) keeps the marginals: it is keep = (sigma_s - r)/sigma_t, written for a guess
    that is sure of what it sees. r = 0 is the masked `ancestral`.
    rule: "cap": r = min(rate, its bound); "rescale": r = rate times its bound. during: the times t, (low, high], where
    r is not 0.
    Raises Refused for a rate or `during` outside [0, 1], and for noise without a mask.
    Source: arXiv:2503.00307, the posterior of ReMDM and its schedules, capped, rescaled and in an interval of times.
    """

    families: ClassVar[frozenset[str]] = TOKENS
    needs: ClassVar[frozenset[str]] = MASK

    rate: float = 0.02
    rule: Literal["cap", "rescale"] = "cap"
    during: tuple[float, float] = (0.0, 1.0)

    aliases: ClassVar[tuple[str, ...]] = ("remdm",)
    default_steps: ClassVar[int] = 256

    def __post_init__(self) -> None:
        if self.rule not in ("cap", "rescale") or not 0 <= self.rate <= 1:
            raise Refused(f"remask has rule cap or rescale and a rate in [0, 1], not {self.rule!r} and {self.rate:g}")
        if not 0 <= self.during[0] < self.during[1] <= 1:
            raise Refused(
                f"remask needs during = (low, high] with 0 <= low < high <= 1, not {self.during[0]:g} and "
                f"{self.during[1]:g}"
            )

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        hidden = x_t == process.absorbing
        alpha_t, alpha_s = float(process.schedule.alpha(t)), float(process.schedule.alpha(s))
        most = min(1.0, (1 - alpha_s) / alpha_t) if alpha_t > 0 else 1.0
        rate = min(self.rate, most) if self.rule == "cap" else self.rate * most
        rate = rate if self.during[0] < float(t) <= self.during[1] else 0.0
        stays = (1 - alpha_s - alpha_t * rate) / (1 - alpha_t)
        chances = torch.tensor([[1 - rate, 0.0, rate], [stays, 1 - stays, 0.0]], dtype=torch.float64)
        keep, pull, fresh = chances.to(x_t.device)[hidden.long()].unbind(-1)
        return Mixed(x_t, keep, fresh, process.vector.to(x_t.device), pull, denoiser(x_t, t, **cond)), None  # type: ignore[arg-type]
