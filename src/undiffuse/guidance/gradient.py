"""What gradient guidance shares: slopes of log-likelihoods, and what they do to a guess."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.broadcast import column
from undiffuse.core.condition_dropout import Drop, drop_mask
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused


def gradient(log_likelihood: Callable[[Tensor], Tensor], x: Tensor, what: str) -> Tensor:
    """The gradient at x of a log-likelihood (batch,), which each sample has for itself, in x's dtype.

    Raises Refused, naming `what`, where the value has another shape, no gradient reaches x, or x are tokens.
    """
    refuse_tokens(x, what)
    refuse_inference_mode(what)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = log_likelihood(x)
        if value.shape != x.shape[:1]:
            raise Refused(f"{what} must give one number a sample, shape ({len(x)},), not {tuple(value.shape)}")
        if not value.requires_grad:
            raise Refused(f"{what} is not differentiable: no gradient reaches the sample through it")
        return torch.autograd.grad(value.sum(), x)[0]


def refuse_inference_mode(what: str) -> None:
    """Raises Refused, naming what needs a gradient, where PyTorch takes none, whoever asks for it."""
    if torch.is_inference_mode_enabled():
        raise Refused(
            f"{what} needs gradients: inside torch.no_grad() it has them, in torch.inference_mode() it has not"
        )


def refuse_tokens(x: Tensor, what: str) -> None:
    """Raises Refused, naming what needs a gradient, for tokens, which have none."""
    if not x.is_floating_point():
        raise Refused(f"{what} moves values by its gradient; tokens have none: guide them by classifier_free")


def tilt(process: Any, t: Tensor | float, like: Tensor) -> Tensor:
    """sigma^2/alpha in like's dtype, which turns a score's change into the guess's; 0 where alpha = 0, since x_t knows
    nothing of x_0 there. Shaped to multiply `like`.
    """
    alpha, sigma = process.schedule.at(t, like)
    return torch.where(alpha > 0, sigma**2 / torch.where(alpha > 0, alpha, 1.0), 0.0).to(like)


def moved(guess: Normal, shift: Tensor | float) -> Normal:
    """The guess with its mean moved; its variance is not that of the guided law, and its fraction stays."""
    held = detached(guess)
    return Normal(held.mean + shift, 0.0, held.fraction)


def detached(guess: Normal) -> Normal:
    """The guess without its graph."""
    cut = {name: v.detach() for name, v in vars(guess).items() if isinstance(v, Tensor)}
    return replace(guess, **cut)


def parted(cond: Mapping[str, Any], reads: Sequence[str], tells: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """The conditions that guidance reads, and those that the denoiser is told: the others, or with `tells` all."""
    read = {name: value for name, value in cond.items() if name in reads}
    return read, {name: value for name, value in cond.items() if tells or name not in reads}


def heard(slope: Tensor, drop: Drop, names: Iterable[str]) -> Tensor:
    """The slope (batch, *shape), 0 for samples from which one of these conditions is dropped."""
    for name in names:
        if (dropped := drop_mask(drop, name)) is not None:
            slope = slope * ~column(dropped, slope)
    return slope
