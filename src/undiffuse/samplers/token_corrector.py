"""Token corrector: some tokens are drawn again at one noise level, beside the steps of any other sampler."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.families import KEEP, TOKENS
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class TokenCorrector(Sampler):
    """x = (1 - share) x + share (alpha_s guess + sigma_s noise), `corrections` times after each step: the bridge from
    s to s that keeps 1 - share.

    A token that is drawn again alone leaves the law q(x_s) as it is, like a Gibbs step; drawn together, tokens that
    depend on one another disturb it by a term of order share: many corrections with a small share are the exact limit.
    predictor: the sampler between the levels, or its name. Nothing is corrected at sigma = 0.
    Raises Refused for values, a share outside (0, 1] and no corrections.
    Source: arXiv:2205.14987, its predictor-corrector sampler; there the corrector has rates, here it is a bridge.
    """

    families: ClassVar[frozenset[str]] = TOKENS
    needs: ClassVar[frozenset[str]] = KEEP

    predictor: Sampler | str = "ancestral"
    corrections: int = 1
    share: float = 0.1

    default_steps: ClassVar[int] = 64

    def __post_init__(self) -> None:
        if self.corrections < 1 or not 0 < self.share <= 1:
            raise Refused(
                f"token_corrector needs corrections >= 1 and a share in (0, 1], not {self.corrections} and "
                f"{self.share:g}"
            )

    @property
    def inner(self) -> Sampler:
        """The predictor itself."""
        return registry.get("samplers", self.predictor)() if isinstance(self.predictor, str) else self.predictor

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        belief, memory = self.inner.step(denoiser, x_t, t, s, memory, random=random.fold(0), **cond)
        if float(process.schedule.alpha(s)) == 1:
            return belief, memory
        keep = torch.tensor(1 - self.share, dtype=torch.float64)
        for i in range(self.corrections):
            x = belief.sample(random.fold(1, i))
            belief = process.bridge(x, denoiser(x, s, **cond), s, s, keep)
        return belief, memory
