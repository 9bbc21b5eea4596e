"""Classifier guidance: the gradient of a noisy classifier moves the guess towards a class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import each
from undiffuse.core.distribution.normal import Normal
from undiffuse.guidance.extrapolation import Interval, check_interval, within
from undiffuse.guidance.gradient import gradient, heard, moved, parted, tilt
from undiffuse.guidance.wrapping import Guided


@dataclass(frozen=True)
class ClassifierGuidance(Guided):
    """guess + weight sigma^2/alpha grad log p(y given x_t): with weight 1 and the exact p, E[x_0 given x_t, y].

    In terms of the noise it is eps - weight sigma grad log p, the form of deterministic samplers; it serves every
    sampler. `MeanShift` is the form that moves the mean of a stochastic sampler's step.
    classifier: called as classifier(x_t, t, **cond), gives log p(y given x_t), (batch,); cond are the conditions named
    in `reads`, and without any of them nothing is guided. tells: whether the denoiser is told them, too.
    interval: (low, high] of sigma/alpha in which to guide.
    Source: arXiv:2105.05233, alg. 2; arXiv:2011.13456, eq. 14.
    """

    denoiser: Denoiser
    classifier: Callable[..., Tensor]
    weight: float = 1.0
    interval: Interval | None = None
    reads: tuple[str, ...] = ("label",)
    tells: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_interval(self.interval)

    def no_density(self) -> str:
        return self.denoiser.no_density() or "a classifier's gradient need not belong to any density"

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        read, told = parted(cond, self.reads, self.tells)
        guess: Any = self.denoiser(x_t, t, **told)
        weight = within(self.interval, self.process.schedule, t, self.weight, otherwise=0.0)
        if not read or (not isinstance(weight, Tensor) and weight == 0):
            return guess
        slope = gradient(lambda x: self.classifier(x, t, **read), x_t, "the classifier")
        slope = heard(slope, cond.get("drop"), read)
        return moved(guess, each(weight, x_t) * tilt(self.process, t, x_t) * slope)
