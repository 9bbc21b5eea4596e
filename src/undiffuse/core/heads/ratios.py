"""Ratios p_t(y)/p_t(x_t), what score entropy learns, and the belief about the data that they stand for."""

from typing import Any

import torch
from torch import Tensor

from undiffuse.core.distribution.tokens import Categories, Tokens

LEAST = 1e-4  # share of a symbol below which ratios that no belief has are bent back; and of alpha


def ratios(process: Any, x_t: Tensor, x_0: Categories, t: Tensor | float) -> Tensor:
    """r(y) = p_t(y)/p_t(x_t), token by token with the others as they are, of a belief p(x_0 given x_t).

    r(y) = sum_k p(k) q(y given k)/q(x_t given k),  r(x_t) = 1;  (batch, *shape, vocabulary), float64.
    Source: arXiv:2310.16834, the concrete score.
    """
    likelihood = process.likelihood(x_t, t)
    possible = likelihood > 0
    weight = torch.where(possible, x_0.mean.double() / torch.where(possible, likelihood, 1.0), 0.0)
    return process.forward(weight, t)


def believed(process: Any, x_t: Tensor, log_ratios: Tensor, t: Tensor | float) -> Tokens:
    """The belief whose ratios these are, the inverse of `ratios`, for a noise vector.

    p(k) = q(x_t given k) w(k),  alpha w(y) = r(y) - sigma noise(y) sum r,  normalised.
    log_ratios: (batch, *shape, vocabulary); that of x_t itself counts as 0. Ratios that no belief has would need w < 0:
    below a share of 1e-4 w is bent so that it stays positive and keeps a slope. An alpha below 1e-4 counts as 1e-4:
    at 0 all ratios are the noise's, and say nothing of x_0.
    """
    x_t, (alpha, sigma) = x_t.long(), (c[..., None] for c in process.chances(t, x_t))
    noise = torch.tensor(process.noise, dtype=torch.float64, device=x_t.device)
    own = torch.nn.functional.one_hot(x_t, len(noise)).bool()
    logits = log_ratios.double().masked_fill(own, 0.0)
    share = logits.softmax(-1)  # r / sum r
    excess = (share - sigma * noise) / alpha.clamp(min=LEAST)  # w / sum w
    edge = LEAST / len(noise)
    weight = torch.where(excess > edge, excess, edge**2 / (2 * edge - excess.clamp(max=edge)))
    likelihood = process.likelihood(x_t, t)
    possible = likelihood > 0
    chances = weight.log() + torch.where(possible, likelihood, 1.0).log()
    return Tokens(chances.masked_fill(~possible, -torch.inf).log_softmax(-1))
