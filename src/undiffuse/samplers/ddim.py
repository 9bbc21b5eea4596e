"""DDIM: take the noise that is there along, with as much fresh noise as wished."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.families import ANY, KEEP
from undiffuse.core.jumps import WORDS
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class DDIM(Sampler):
    """keep = sqrt(sigma_s^2 - eta^2 v) / sigma_t, v the Markov reverse's variance.
    eta = 0: deterministic, first order; 1: DDPM.

    variance: "posterior" takes the guess for certain; "exact" averages over the guess's own variance, as a denoiser
    that reports one makes possible (Analytic-DPM's DDIM, arXiv:2201.06503, with guidance's optimal_variance).
    Source: arXiv:2010.02502, eq. 12 and 16. For tokens: multinomial DDIM (app. A).
    Raises Refused for eta outside [0, 1].
    """

    families: ClassVar[frozenset[str]] = ANY
    needs: ClassVar[frozenset[str]] = KEEP
    jumps: ClassVar[frozenset[str]] = frozenset({"none", "any", "fixed"})
    batch_times: ClassVar[bool] = True

    eta: float = 0.0
    variance: Literal["posterior", "exact"] = "posterior"

    def __post_init__(self) -> None:
        if self.variance not in _GUESSES:
            raise Refused(f"ddim has no variance {self.variance!r}; it has: {', '.join(_GUESSES)}")
        if not 0 <= self.eta <= 1:
            raise Refused(f"ddim needs eta in [0, 1], not {self.eta:g}")

    @property
    def convergence_order(self) -> int:
        return 0 if self.eta else 1

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process = denoiser.process
        if self.eta and denoiser.jumps == "fixed":
            raise Refused(f"ddim with eta = {self.eta:g} adds noise, and this model is {WORDS['fixed']}: take eta = 0")
        guess = _GUESSES[self.variance](denoiser(x_t, t, **cond))
        return process.bridge(x_t, guess, s, t, process.keep(s, t, x_t, self.eta)), None


def _uncertain(guess: Distribution) -> Distribution:
    if not guess.reported:
        raise Refused("ddim with variance 'exact' needs a denoiser that reports its variance; use 'posterior'")
    return guess


_GUESSES: dict[str, Callable[[Distribution], Distribution]] = {
    "posterior": lambda guess: guess.mean_only(),
    "exact": _uncertain,
}
