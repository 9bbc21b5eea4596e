"""The terms of a variational bound: what a process's bridge and a guess say about one step."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution import Distribution, Normal, Tokens
from undiffuse.core.errors import Refused
from undiffuse.core.process import Process
from undiffuse.likelihood.decoder import Decoder
from undiffuse.likelihood.question import checked

Variance = Literal["posterior", "beta", "exact"]


def data(denoiser: Denoiser, x_0: Tensor, decoder: Decoder | None) -> Tensor:
    """The data, checked; raises Refused where they or the decoder do not fit the denoiser."""
    x_0 = checked(denoiser, x_0)
    if decoder is None:
        return x_0
    if not x_0.is_floating_point():
        raise Refused("tokens have an exact bound: a decoder is for values")
    return decoder.check(x_0)


def prior(process: Process, x: Tensor, t: Tensor) -> Tensor:
    """KL(q(x_t given x_0) || prior) in nats; raises Refused where it is infinite."""
    belief: Any = process.prior(x.shape, t)
    if isinstance(belief, Tokens):
        belief = Tokens(belief.log_probs.to(x.device))
    else:
        belief = Normal(torch.zeros_like(x), process.schedule.prior_std(t).to(x) ** 2)
    kl: Tensor = process.marginal(x, t).kl(belief)
    if bool(kl.isinf().any()):
        raise Refused(
            f"the bound is infinite: at t = {float(t):g} tokens of the data are left that the prior cannot produce; "
            "take a schedule whose alpha(1) is 0, such as log_linear with floor = 0"
        )
    return kl.double()


def step(
    process: Process,
    x_0: Tensor,
    x_t: Tensor,
    guess: Distribution,
    s: Tensor | float,
    t: Tensor | float,
    variance: Variance = "posterior",
) -> Tensor:
    """One term: KL(q(x_s given x_t, x_0) || p(x_s given x_t)) in nats, (batch,); s > 0, and both () or (batch,)."""
    return process.bridge(x_t, process.point(x_0), s, t).kl(_reverse(process, x_t, guess, s, t, variance))


def reconstruction(
    process: Process,
    x_0: Tensor,
    x_t: Tensor,
    guess: Any,
    times: Tensor,
    variance: Variance = "posterior",
    decoder: Decoder | None = None,
) -> Tensor:
    """The last term, log p(x_0 given x_t) in nats, (batch,); times: the whole grid down to 0, x_t lies at times[-2]."""
    belief: Any = _reverse(process, x_t, guess, 0.0, times[-2], "exact" if variance == "exact" else "posterior")
    if isinstance(belief, Tokens):
        return belief.log_prob(x_0)
    if variance != "exact":
        before: Any = process.bridge(x_t, guess.mean_only(), times[-2], times[-3]) if len(times) > 2 else None
        alpha, sigma = process.schedule.at(times[-2], x_t)
        belief = Normal(guess.mean, (sigma / alpha) ** 2 if before is None else before.var)
    return decoder.log_prob(x_0, belief) if decoder else belief.log_prob(x_0)


def _reverse(
    process: Process, x_t: Tensor, guess: Distribution, s: Tensor | float, t: Tensor | float, variance: Variance
) -> Distribution:
    """p(x_s given x_t)."""
    if variance not in _VARIANCES:
        raise Refused(f"the bound has no variance {variance!r}; it has: {', '.join(_VARIANCES)}")
    return _VARIANCES[variance](process, x_t, guess, s, t)


def _posterior(process: Process, x_t: Any, guess: Distribution, s: Any, t: Any) -> Distribution:
    return process.bridge(x_t, guess.mean_only(), s, t)


def _exact(process: Process, x_t: Any, guess: Distribution, s: Any, t: Any) -> Distribution:
    if getattr(guess, "certain", False):
        raise Refused("the variance 'exact' needs a denoiser that reports its variance; use 'posterior' or 'beta'")
    return process.bridge(x_t, guess, s, t)


def _beta(process: Process, x_t: Any, guess: Distribution, s: Any, t: Any) -> Distribution:
    kernel = getattr(process, "kernel_variance", None)
    if kernel is None:
        raise Refused("the variance 'beta' is for values; tokens have none")
    bridge: Any = process.bridge(x_t, guess.mean_only(), s, t)
    return Normal(bridge.mean, kernel(s, t, x_t))


_VARIANCES: dict[str, Callable[[Process, Any, Distribution, Any, Any], Distribution]] = {
    "posterior": _posterior,
    "beta": _beta,
    "exact": _exact,
}
