"""The bound on tokens that embeddings stand for: that of their values, and what rounding adds."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core import devices
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.likelihood.bound import TOKENS, Bound
from undiffuse.likelihood.elbo import elbo
from undiffuse.likelihood.question import parts


@devices.on_cpu()
@torch.no_grad()
def embedded(denoiser: Denoiser, tokens: Tensor, *, seed: int = 0, indices: Tensor | None = None, **how: Any) -> Bound:
    """-log p(w) <= E[log q(x_0 | w) - log p(w | x_0) + bound on -log p(x_0)],  x_0 = Emb(w) + sigma_0 noise.

    tokens: (batch, length). q(x_0 | w) is N(Emb(w), sigma_0^2), and p(w | x_0) the rounding's softmax; one draw of x_0
    for each datum. how: as in `elbo`, whose terms these are but for the reconstruction, which has all the rest.
    The bound is in nats of the tokens. Source: arXiv:2205.14217, eq. 2. Raises Refused for tokens outside the table,
    and as `elbo` does.
    """
    table = denoiser.embeddings
    if table is None:
        raise Refused(
            f"the bound of embeddings needs a denoiser with embeddings, and this {type(denoiser).__name__} has none"
        )
    if tokens.is_floating_point() or not 0 <= int(tokens.min()) <= int(tokens.max()) < len(table.table):
        raise Refused(f"the bound of embeddings is of their tokens, 0 ... {len(table.table) - 1}")
    found: list[tuple[Tensor, Tensor]] = []
    for _, w, random, _ in parts(tokens.to(table.table.device), seed, indices, how.get("batch"), {}):
        x_0 = table.begun(w, random.fold(-3)).double()
        noise = ((x_0 - table.state_of(w)) / table.sigma_0).square().flatten(1).sum(1)
        told = -0.5 * noise - x_0[0].numel() * math.log(table.sigma_0 * math.sqrt(2 * math.pi))  # log q(x_0 | w)
        logits = table.logits(x_0)
        rounding = F.cross_entropy(logits.flatten(0, 1), w.flatten(), reduction="none").view_as(w).sum(1)
        found.append((x_0, told + rounding))
    x_0, rest = (torch.cat(each) for each in zip(*found, strict=True))
    values = elbo(denoiser, x_0, seed=seed, indices=indices, **how)
    return replace(
        values,
        reconstruction=values.reconstruction + rest.cpu(),
        elements=tokens[0].numel(),
        convention=TOKENS,
    )
