"""The terms of a variational bound: what a process's bridge and a guess say about one step."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.bins import Bins
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.errors import Refused
from undiffuse.core.named_parts import each
from undiffuse.core.process.process import Process
from undiffuse.core.process.product import apart
from undiffuse.core.reverse import BOUND, Variance, rebuilt, reverse
from undiffuse.likelihood.question import checked

Last = Literal["guess", "kernel"]


def data(denoiser: Denoiser, x_0: Any, decoder: Decoder | Bins | None) -> Any:
    """The data, checked; raises Refused where they or the decoder do not fit the denoiser."""
    x_0 = checked(denoiser, x_0)
    if decoder is None:
        return x_0
    if denoiser.process.family == "tokens":
        raise Refused("tokens have an exact bound: a decoder is for values")
    return each(lambda part: decoder.check(part) if part.is_floating_point() else part, x_0)


def prior(process: Process, x: Any, t: Tensor) -> Tensor:
    """KL(q(x_t given x_0) || prior) in nats; raises Refused where it is infinite."""
    kl = torch.stack([_prior(part, own, t) for part, own in apart(process, x)]).sum(0)
    if bool(kl.isinf().any()):
        raise Refused(
            f"the bound is infinite: at t = {float(t):g} tokens of the data are left that the prior cannot produce; "
            "take a schedule whose alpha(1) is 0, such as log_linear with floor = 0"
        )
    return kl.double()


def step(
    process: Process,
    x_0: Any,
    x_t: Any,
    guess: Distribution,
    s: Tensor | float,
    t: Tensor | float,
    variance: Variance = "posterior",
) -> Tensor:
    """One term: KL(q(x_s given x_t, x_0) || p(x_s given x_t)) in nats, (batch,); s > 0, and both () or (batch,)."""
    return process.bridge(x_t, process.point(x_0), s, t).kl(reverse(process, x_t, guess, s, t, variance, BOUND))


def reconstruction(
    process: Process,
    x_0: Any,
    x_t: Any,
    guess: Any,
    times: Tensor,
    variance: Variance = "posterior",
    decoder: Decoder | Bins | None = None,
) -> Tensor:
    """The last term, log p(x_0 given x_t) in nats, (batch,); times: the whole grid down to 0, x_t lies at times[-2]."""
    found: list[Tensor] = []
    for part, x, noisy, belief in apart(process, x_0, x_t, guess):
        if part.family == "tokens":
            found.append(reverse(part, noisy, belief, 0.0, times[-2], "posterior", BOUND).log_prob(x).double())
        else:
            found.append(rebuilt(part, x, noisy, belief, times, variance, decoder).double())
    return torch.stack(found).sum(0)


def kernel(
    process: Process,
    x_0: Any,
    x_t: Any,
    guess: Any,
    times: Tensor,
    variance: Variance = "posterior",
    decoder: Decoder | Bins | None = None,
) -> Tensor:
    """The same if p(x_0 given x_t) is the forward kernel q(x_t given x_0) taken backwards, whatever the guess."""
    terms: list[Tensor] = []
    for part, x, noisy in apart(process, x_0, x_t):
        back: Any = part.marginal(noisy, times[-2])
        terms.append(decoder.log_prob(x, back) if decoder and x.is_floating_point() else back.log_prob(x))
    found = torch.stack(terms).sum(0)
    if bool(found.isinf().any()):
        raise Refused(
            "the bound is infinite: the forward kernel cannot lead from a mask back to the data; last = 'guess'"
        )
    return found


def _prior(process: Process, x: Tensor, t: Tensor) -> Tensor:
    belief: Any = process.prior(x.shape, t)
    if process.family == "tokens":
        belief = Tokens(belief.log_probs.to(x.device))
    else:
        belief = Normal(torch.zeros_like(x), process.schedule.prior_std(t).to(x) ** 2)
    return process.marginal(x, t).kl(belief).double()


def ending(last: str) -> Callable[..., Tensor]:
    """How the last term is computed; raises Refused for an unknown way."""
    if last not in _ENDINGS:
        raise Refused(f"the bound has no last step {last!r}; it has: {', '.join(_ENDINGS)}")
    return _ENDINGS[last]


_ENDINGS: dict[str, Callable[..., Tensor]] = {"guess": reconstruction, "kernel": kernel}
