"""Ancestral sampling: the Markov process reversed step by step, as DDPM does."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.families import ANY, VALUES
from undiffuse.core.random import Random
from undiffuse.core.reverse import GAUSSIAN, VARIANCES, Variance, reverse
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class Ancestral(Sampler):
    """p(x_s given x_t) = q(x_s given x_t, x_0) at the guess, with one of four variances.

    variance: "posterior" is that of q itself (DDPM's small one); "beta" that of the forward kernel (DDPM's large one);
    "learned" lies between the two where the guess says (improved DDPM, arXiv:2102.09672, eq. 15); "exact" averages over
    the guess's own variance, as a denoiser that reports one makes possible. The last step, onto data, adds no noise but
    with "exact".
    Between any two times: a grid that skips steps keeps alpha-bar, has its own beta, and the network hears the time.
    For tokens all is Bayes' posterior averaged over the guess; "beta" and "learned" mean nothing.
    Source: arXiv:2006.11239, alg. 2 and sec. 3.2.
    """

    families: ClassVar[frozenset[str]] = ANY
    batch_times: ClassVar[bool] = True

    variance: Variance = "posterior"

    aliases: ClassVar[tuple[str, ...]] = (
        "ddpm",
        "euler_a",
        "euler_ancestral",
        "euler_ancestral_discrete",
        "k_euler_a",
        "k_euler_ancestral",
        "d3pm",
    )
    default_steps: ClassVar[int] = 1000

    def __post_init__(self) -> None:
        if self.variance not in VARIANCES:
            raise Refused(f"ancestral has no variance {self.variance!r}; it has: {', '.join(VARIANCES)}")

    def takes(self) -> frozenset[str]:
        return VALUES if self.variance in GAUSSIAN else self.families

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        belief = reverse(denoiser.process, x_t, denoiser(x_t, t, **cond), s, t, self.variance, "ancestral")
        return belief, None
