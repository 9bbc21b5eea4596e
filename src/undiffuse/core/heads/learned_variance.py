"""Values whose variance the network guesses as well, in a second half of its channels."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log

from torch import Tensor
from torch.nn.functional import softplus

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.heads.head import Belief, Head
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.process.gaussian import Gaussian


@dataclass(frozen=True)
class LearnedVariance(Head):
    """The first half of the channels as the parameterization says; the second, v, speaks of the variance.

    variance: "learned_range": the guess carries fraction = (v + 1)/2, not squashed (arXiv:2102.09672, eq. 15);
    "second_moment": its var = sigma^2/(alpha^2 + sigma^2) softplus(v)/log 2, which at v = 0 is that of data N(0, 1) and
    never negative, unlike E[noise^2] less the guess's square (arXiv:2206.07309, sec. 4.1).
    Raises Refused for an unknown variance, and for a network without the second half.
    """

    parameterization: Parameterization
    variance: str

    def __post_init__(self) -> None:
        if self.variance not in VARIANCES:
            raise unknown("the denoiser's variance", self.variance, ("none", *VARIANCES))

    @property
    def bound_variance(self) -> str:  # type: ignore[override]
        """The variance of its own bound."""
        return {"learned_range": "learned", "second_moment": "exact"}[self.variance]

    def open(self, process: Gaussian, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Belief]:
        shown, c_time, mean_of = self.parameterization.open(process, x_t, t)
        return shown, c_time, lambda output: self._belief(output, mean_of, process, x_t, t)

    def _belief(self, output: Tensor, mean_of: Belief, process: Gaussian, x_t: Tensor, t: Tensor) -> Normal:
        if output.shape[1] != 2 * x_t.shape[1]:
            raise Refused(
                f"a denoiser with variance {self.variance!r} needs {2 * x_t.shape[1]} channels from its network, "
                f"which gives {output.shape[1]}"
            )
        mean, v = output.to(x_t.dtype).chunk(2, dim=1)
        guess: Normal = mean_of(mean)  # type: ignore[assignment]
        return VARIANCES[self.variance](guess, v, *process.schedule.at(t, x_t))

    def no_density(self) -> str:
        return self.parameterization.no_density()


def _learned_range(guess: Normal, v: Tensor, alpha: Tensor, sigma: Tensor) -> Normal:
    return replace(guess, fraction=(v + 1) / 2)


def _second_moment(guess: Normal, v: Tensor, alpha: Tensor, sigma: Tensor) -> Normal:
    var = (sigma**2 / (alpha**2 + sigma**2)).to(v.dtype) * softplus(v) / log(2)
    return replace(guess, var=var)


VARIANCES: dict[str, Callable[[Normal, Tensor, Tensor, Tensor], Normal]] = {
    "learned_range": _learned_range,
    "second_moment": _second_moment,
}
