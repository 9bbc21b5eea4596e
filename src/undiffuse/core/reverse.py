"""The reverse step p(x_s given x_t): the process's bridge at a guess, with one of four variances."""

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor

from undiffuse.core.broadcast import column
from undiffuse.core.distribution.bins import Bins
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.process.process import Process

Variance = Literal["posterior", "beta", "exact", "learned"]
GAUSSIAN = ("beta", "learned")  # for values alone


def reverse(
    process: Process, x_t: Any, guess: Distribution, s: Tensor | float, t: Tensor | float, variance: str, who: str
) -> Distribution:
    """p(x_s given x_t) with the mean of q(x_s given x_t, x_0) at the guess; s and t are () or (batch,).

    variance: "posterior" is that of q itself (DDPM's small one), "beta" that of the forward kernel (the large one),
    "exact" averages over the guess's own variance, "learned" is log Sigma = fraction log beta + (1 - fraction) log
    posterior at the guess's fraction, for any two times (arXiv:2102.09672, eq. 15). At s = 0, onto data, "beta" and
    "learned" have none, as q.
    Raises Refused, naming `who` asks, for an unknown variance and for one that the guess or the process lacks.
    """
    if variance not in VARIANCES:
        raise Refused(f"{who} has no variance {variance!r}; it has: {', '.join(VARIANCES)}")
    return VARIANCES[variance](process, x_t, guess, s, t, who)


def rebuilt(
    process: Process,
    x_0: Tensor,
    x_t: Tensor,
    guess: Any,
    times: Tensor,
    variance: str,
    decoder: Decoder | Bins | None,
) -> Tensor:
    """log p(x_0 given x_t) of the last step in nats, (batch,): a density, or with a decoder a level's probability.

    times: the end of the grid, x_t lies at times[-2] and times[-1] is 0. Where q leaves no variance, the posterior's of
    the step before stands for it on a table, as in DDPM's code, and on a schedule without steps sigma^2 / alpha^2:
    alone ("posterior", "beta") or as the lower end of "learned".
    """
    belief: Any
    if variance == "exact":
        belief = reverse(process, x_t, guess, 0.0, times[-2], "exact", BOUND)
    else:
        dynamics = cast(Any, process)  # values: whatever else has an exact last step
        alpha, sigma = process.schedule.at(times[-2], x_t)
        table = process.schedule.steps > 0 and len(times) > 2  # else the step before may be as short as one likes
        before: Any = process.bridge(x_t, guess.mean_only(), times[-2], times[-3]) if table else None
        small = (sigma / alpha) ** 2 if before is None else before.var
        if variance == "learned":
            beta = dynamics.kernel_variance(0.0, times[-2], x_t)
            small = _between(_fraction(guess, BOUND), torch.as_tensor(small).to(x_t), beta)
        belief = Normal(guess.mean, small)
    return decoder.log_prob(x_0, belief) if decoder else belief.log_prob(x_0)


BOUND = "the bound"


def _posterior(process: Process, x_t: Any, guess: Distribution, s: Any, t: Any, who: str) -> Distribution:
    return process.bridge(x_t, guess.mean_only(), s, t)


def _beta(process: Process, x_t: Any, guess: Distribution, s: Any, t: Any, who: str) -> Distribution:
    bridge: Any = process.bridge(x_t, guess.mean_only(), s, t)
    beta = _kernel(process, "beta", who)(s, t, x_t)
    return _unless_data(s, bridge, beta)


def _exact(process: Process, x_t: Any, guess: Distribution, s: Any, t: Any, who: str) -> Distribution:
    if not guess.reported:
        raise Refused(
            f"{who} with variance 'exact' needs a denoiser that reports its variance; use 'posterior' or 'beta'"
        )
    return process.bridge(x_t, guess, s, t)


def _learned(process: Process, x_t: Any, guess: Distribution, s: Any, t: Any, who: str) -> Distribution:
    beta, fraction = _kernel(process, "learned", who)(s, t, x_t), _fraction(guess, who)
    bridge: Any = process.bridge(x_t, guess.mean_only(), s, t)
    return _unless_data(s, bridge, _between(fraction, bridge.var, beta))


def _unless_data(s: Any, bridge: Normal, variance: Tensor) -> Normal:
    """The bridge with this variance, but where s = 0: the step onto data."""
    ends = torch.as_tensor(s) == 0
    if ends.ndim == 0:
        return bridge if bool(ends) else Normal(bridge.mean, variance)
    ends = column(ends, bridge.mean)
    return Normal(bridge.mean, torch.where(ends, bridge.var, variance))


def _kernel(process: Process, variance: str, who: str) -> Callable[..., Tensor]:
    if process.family != "values":
        raise Refused(f"{who} with variance {variance!r} is for a Gaussian process, not {type(process).__name__}")
    return cast(Any, process).kernel_variance


def _fraction(guess: Distribution, who: str) -> Tensor:
    fraction = guess.fraction
    if fraction is None:
        raise Refused(
            f"{who} with variance 'learned' needs a denoiser with a learned range, as LearnedVariance "
            "gives one; use 'posterior' or 'beta'"
        )
    return fraction


def _between(fraction: Tensor, small: Tensor, large: Tensor) -> Tensor:
    """small^(1 - fraction) large^fraction."""
    return (fraction * large.log() + (1 - fraction) * small.log()).exp()


VARIANCES: dict[str, Callable[[Process, Any, Distribution, Any, Any, str], Distribution]] = {
    "posterior": _posterior,
    "beta": _beta,
    "exact": _exact,
    "learned": _learned,
}
