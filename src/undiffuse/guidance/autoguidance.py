"""Autoguidance: extrapolate from the guess of a worse model through that of a good one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.families import ANY
from undiffuse.guidance.extrapolation import Extrapolation, Interval, same_vocabulary


@dataclass(frozen=True)
class Autoguidance(Extrapolation):
    """guess = reference.blend(denoiser, weight) = reference + weight (denoiser - reference): both with the conditions.

    The sum is of the means of values, with the variance of denoiser, and of the log-probabilities of tokens.
    reference: a smaller or less trained model of the same data and process; with itself, the model is unchanged.
    interval, rescale, parallel, largest: see `Extrapolation`.
    Raises Refused for a reference whose process or vocabulary differs, since the same x_t and t would mean different
    noise.
    Source: arXiv:2406.02507, eq. 3.
    """

    families: ClassVar[frozenset[str]] = ANY

    denoiser: Denoiser
    reference: Denoiser
    weight: float = 2.0
    interval: Interval | None = None
    rescale: float = 0.0
    parallel: float = 1.0
    largest: float = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        same_vocabulary(self.reference.process, self.denoiser.process)
        if self.reference.process != self.denoiser.process:
            raise Refused(
                "autoguidance needs a reference with the model's own process, not "
                f"{self.reference.process!r} beside {self.denoiser.process!r}"
            )

    def pair(self, x_t: Any, t: Tensor | float, cond: Mapping[str, Any]) -> tuple[Distribution, Distribution]:
        return self.reference(x_t, t, **cond), self.denoiser(x_t, t, **cond)
