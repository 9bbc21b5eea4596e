"""Experts: several guesses at once, each pulling away from a common one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.families import ANY
from undiffuse.guidance.wrapping import Guided


@dataclass(frozen=True)
class Composition(Guided):
    """guess = base + sum_i weights_i (expert_i - base): the sum of several conditions, or models, at every noise level.

    With weights of 1 it is meant as the product of experts p(x) prod_i p_i(x)/p(x), for conditions that are independent
    given x. It is not exact: a sum of scores at a noise level is not the score of the noised product, and the two agree
    only as the noise goes to 0 (a chain of three states with correlations 0.8 comes out with 0.75, and its ends with
    0.38 in place of 0.64); Langevin steps at low noise repair it. experts: denoisers of one process, such as
    `Given(denoiser, label=...)`; base: the guess without conditions. weights: one each, or none for 1 each. Values sum
    their means, and the variance is the last expert's; tokens sum their log-probabilities.
    Source: arXiv:2206.01714, eq. 11.
    """

    families: ClassVar[frozenset[str]] = ANY

    base: Denoiser
    experts: Sequence[Denoiser]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.experts or (self.weights is not None and len(self.weights) != len(self.experts)):
            raise Refused(
                f"experts needs one weight an expert and at least one, not {len(self.weights or ())} weights for "
                f"{len(self.experts)}"
            )

    @property
    def denoiser(self) -> Denoiser:  # type: ignore[override]
        """What stands for all of them where weights and device are asked for."""
        return self.base

    def no_density(self) -> str:
        return "a sum of several guesses belongs to no one density"

    def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Distribution:
        alone = [expert(x_t, t, **cond) for expert in self.experts]
        return composed(self.base(x_t, t, **cond), alone, self.weights or [1.0] * len(alone))


def composed(base: Distribution, alone: Sequence[Distribution], weights: Sequence[float]) -> Distribution:
    """base + sum_i weights_i (alone_i - base); of values, with the variance of the last one."""
    mean = base
    for i, (guess, weight) in enumerate(zip(alone, weights, strict=True)):
        mean = mean.blend(base.blend(guess, weight), 1 / (i + 1))  # so far, of base + weight (guess - base)
    return base.blend(mean, float(len(alone)))
