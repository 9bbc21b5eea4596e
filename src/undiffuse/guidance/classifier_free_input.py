"""Classifier-free guidance whose weight comes with each call: what a student learns that takes it as an input."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.families import ANY
from undiffuse.guidance.classifier_free import ClassifierFree
from undiffuse.guidance.extrapolation import Interval
from undiffuse.guidance.wrapping import Guided


@dataclass(frozen=True)
class ClassifierFreeInput(Guided):
    """denoiser(x_t, t, guidance=w, **cond) = without + w (with - without); w: a number, or one a sample, (batch,).

    It is called as a model with `guidance_input` is, so that an objective with a teacher asks both alike. interval,
    rescale, hide: see `ClassifierFree`. Source: arXiv:2210.03142, sec. 3.1, which counts w - 1.
    """

    families: ClassVar[frozenset[str]] = ANY

    denoiser: Denoiser
    interval: Interval | None = None
    rescale: float = 0.0
    hide: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        ClassifierFree(self.denoiser, interval=self.interval, rescale=self.rescale)

    @property
    def guidance_input(self) -> tuple[float, float]:  # type: ignore[override]
        return 0.0, math.inf

    def no_density(self) -> str:
        return "guidance moves the guesses away from the means of any one density"

    def __call__(self, x_t: Any, t: Tensor | float, *, guidance: Any = 1.0, **cond: Any) -> Distribution:
        guided = ClassifierFree(
            self.denoiser, weight=guidance, interval=self.interval, rescale=self.rescale, hide=self.hide
        )
        return guided(x_t, t, **cond)
