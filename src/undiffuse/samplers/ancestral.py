"""Ancestral sampling: the Markov process reversed step by step, as DDPM does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution import Distribution, Normal
from undiffuse.core.errors import Refused
from undiffuse.core.process import Process
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class Ancestral(Sampler):
    """p(x_s given x_t) = q(x_s given x_t, x_0) at the guess, with one of three variances.

    variance: "posterior" is that of q itself (DDPM's small one); "beta" that of the forward kernel (DDPM's large one,
    and no noise in the
    last step); "exact" averages over the guess's own variance, as a denoiser that reports one makes possible.
    For tokens all is Bayes' posterior averaged over the guess, and "beta" means nothing.
    Source: arXiv:2006.11239, alg. 2 and sec. 3.2.
    """

    variance: Literal["posterior", "beta", "exact"] = "posterior"

    default_steps: ClassVar[int] = 1000

    def __post_init__(self) -> None:
        if self.variance not in _BRIDGES:
            raise Refused(f"ancestral has no variance {self.variance!r}; it has: {', '.join(_BRIDGES)}")

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        return _BRIDGES[self.variance](denoiser.process, x_t, denoiser(x_t, t, **cond), s, t), None


def _posterior(process: Process, x_t: Any, guess: Distribution, s: Tensor, t: Tensor) -> Distribution:
    return process.bridge(x_t, guess.mean_only(), s, t)


def _exact(process: Process, x_t: Any, guess: Distribution, s: Tensor, t: Tensor) -> Distribution:
    if getattr(guess, "certain", False):
        raise Refused(
            "ancestral with variance 'exact' needs a denoiser that reports its variance; use 'posterior' or 'beta'"
        )
    return process.bridge(x_t, guess, s, t)


def _beta(process: Process, x_t: Any, guess: Distribution, s: Tensor, t: Tensor) -> Distribution:
    variance = getattr(process, "kernel_variance", None)
    if variance is None:
        raise Refused(f"ancestral with variance 'beta' is for a Gaussian process, not {type(process).__name__}")
    bridge: Any = process.bridge(x_t, guess.mean_only(), s, t)
    return Normal(bridge.mean, variance(s, t, x_t) if float(s) > 0 else 0.0)


_BRIDGES: dict[str, Callable[[Process, Any, Distribution, Tensor, Tensor], Distribution]] = {
    "posterior": _posterior,
    "beta": _beta,
    "exact": _exact,
}
