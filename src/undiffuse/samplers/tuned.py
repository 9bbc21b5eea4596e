"""Tuned: a linear step with coefficients of its own at each time, as `undiffuse tune RUN grid` finds them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler

_NEAR = 1e-6  # how far a time may be from the one that the coefficients are for


@dataclass(frozen=True)
class Tuned(Sampler):
    """x_s = (sigma_s/sigma_t) x_t + (alpha_s - alpha_t sigma_s/sigma_t) D,  D = sum_j c_ij guess_j,  one call a step.

    Every deterministic solver with one call a step is this with coefficients of its own. coefficients: for the i-th
    step those of the newest guess, of the one before, and so on, at most i + 1 of them. times: the grid that they are
    for, one more. With neither every step takes its own guess alone, as DDIM does.
    Raises Refused for coefficients that do not fit the times, and for a step that is not the next of them.
    Source: a table for each step as in arXiv:2502.17423; here it is found by least squares, see `tune_grid`.
    """

    times: tuple[float, ...] = ()
    coefficients: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        rows = self.coefficients
        if not rows and not self.times:
            return
        falls = all(s < t for t, s in pairwise(self.times))
        if not falls or len(self.times) != len(rows) + 1 or not all(1 <= len(r) <= i + 1 for i, r in enumerate(rows)):
            raise Refused(
                "tuned takes falling times, and for each step between them a row of coefficients, the i-th of 1 to i; "
                f"not {len(self.times)} times and rows of {[len(row) for row in rows]}"
            )

    @property
    def batch_times(self) -> bool:  # type: ignore[override]
        return not self.times

    @property
    def convergence_order(self) -> int:
        return 1

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        i, past = memory or (0, ())
        if self.times:
            self._check(i, t, s)
        guess: Any = denoiser(x_t, t, **cond)
        guesses = (guess.mean, *past)
        row = self.coefficients[i] if self.times else (1.0,)
        ahead: Any = sum(c * each for c, each in zip(row, guesses, strict=False))
        longest = max(map(len, self.coefficients[i + 1 :]), default=1) - 1  # what later steps still read
        return process.bridge(x_t, Normal(ahead, 0.0), s, t, process.keep(s, t, x_t)), (i + 1, guesses[:longest])

    def _check(self, i: int, t: Tensor, s: Tensor) -> None:
        """Raises Refused unless the i-th step goes from t to s."""
        if i >= len(self.coefficients):
            raise Refused(f"this plan was tuned for {len(self.coefficients)} steps, and is asked for more")
        if abs(float(t) - self.times[i]) > _NEAR or abs(float(s) - self.times[i + 1]) > _NEAR:
            raise Refused(
                f"step {i + 1} of this plan was tuned from t = {self.times[i]:.4g} to {self.times[i + 1]:.4g}, not "
                f"from {float(t):.4g} to {float(s):.4g}: take the grid `listed` with the times of the plan"
            )
