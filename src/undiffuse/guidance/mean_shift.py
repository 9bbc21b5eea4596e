"""Mean shift: a classifier's gradient moves the mean of a stochastic sampler's step."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.guidance.gradient import gradient, heard, parted
from undiffuse.guidance.wrapping import Steered


@dataclass(frozen=True)
class MeanShift(Steered):
    """p(x_s given x_t, y) ~ N(mean + weight var grad log p(y given x), var), mean and var those of the inner sampler.

    at: where the gradient is taken: "start" is x_t at t (guided diffusion), "mean" is the step's mean at s
    (the perturbation by r(x) of 2015). A step without variance, such as DDIM's or the last, is not moved: use
    `Classifier` there. For the exact p and weight 1 its error is of the order of the step.
    classifier, reads, tells: see `Classifier`. Source: arXiv:2105.05233, alg. 1; arXiv:1503.03585, eq. 23.
    """

    sampler: Sampler
    classifier: Callable[..., Tensor]
    weight: float = 1.0
    at: Literal["start", "mean"] = "start"
    reads: tuple[str, ...] = ("label",)
    tells: bool = False

    default_steps: ClassVar[int] = 1000

    def __post_init__(self) -> None:
        if self.at not in ("start", "mean"):
            raise Refused(f"mean_shift takes the gradient at 'start' or at 'mean', not {self.at!r}")

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        read, conditions = parted(cond, self.reads, self.tells)
        belief: Any
        belief, memory = self.sampler.step(denoiser, x_t, t, s, memory, random=random, **conditions)
        if not read or belief.certain:
            return belief, memory
        place, time = (x_t, t) if self.at == "start" else (belief.mean, s)
        slope = gradient(lambda x: self.classifier(x, time, **read), place, "the classifier")
        slope = heard(slope, cond.get("drop"), read)
        return replace(belief, mean=belief.mean + self.weight * belief.var * slope), memory
