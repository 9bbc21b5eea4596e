"""Energy guidance: any differentiable score of the guess moves it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import each
from undiffuse.core.distribution.normal import Normal
from undiffuse.guidance.extrapolation import Interval, check_interval, within
from undiffuse.guidance.gradient import gradient, moved, parted, tilt
from undiffuse.guidance.wrapping import Guided


@dataclass(frozen=True)
class EnergyGuidance(Guided):
    """guess + weight sigma^2/alpha grad_{x_t} score(guess(x_t)): towards guesses that the score likes.

    sigma^2/alpha times the guess's Jacobian is Cov(x_0 given x_t), so the guess moves by Cov grad score and not at all
    where x_t leaves no doubt. Taken as a log-likelihood of x_0, the score is applied to the guess in place of its
    average over p(x_0 given x_t): exact as noise goes to 0 (the Jensen gap of arXiv:2209.14687, theorem 1).
    score: called as score(mean, **cond) with encoded data (batch, *shape) and the conditions named in `reads`; gives
    (batch,), higher is better. The denoiser is not told those. interval: (low, high] of sigma/alpha in which to guide.
    Source: arXiv:2302.07121, eq. 6 (forward guidance).
    """

    denoiser: Denoiser
    score: Callable[..., Tensor]
    weight: float = 1.0
    interval: Interval | None = None
    reads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_interval(self.interval)

    def no_density(self) -> str:
        return "a score of the guess moves the guesses away from the means of any one density"

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        read, told = parted(cond, self.reads)
        weight = within(self.interval, self.process.schedule, t, self.weight, otherwise=0.0)
        if not isinstance(weight, Tensor) and weight == 0:
            guess: Any = self.denoiser(x_t, t, **told)
            return guess
        seen: list[Any] = []

        def scored(x: Tensor) -> Tensor:
            seen.append(self.denoiser(x, t, **told))
            return self.score(seen[0].mean, **read)

        slope = gradient(scored, x_t, "the score")
        return moved(seen[0], each(weight, x_t) * tilt(self.process, t, x_t) * slope)
