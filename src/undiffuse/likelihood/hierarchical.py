"""Variational autoencoders of one layer or many: their bound, and the importance-weighted one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import devices
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.likelihood.bound import DENSITY, Bound
from undiffuse.likelihood.question import Progress, parts, silent

Conditional = Callable[[Any], Distribution]


@dataclass(frozen=True, eq=False)
class HierarchicalVAE:
    """A Markov chain x, z_1, ..., z_L:  p(z_L) p(z_{L-1} | z_L) ... p(x | z_1), and q(z_1 | x) ... q(z_L | z_{L-1}).

    up: q(z_l | z_{l-1}) for l = 1 ... L, each a function of a batch; z_0 is x. down: p(z_l | z_{l+1}), l = 1 ... L-1.
    log_prob: (x, z_1) -> log p(x | z_1) in nats, (batch,). prior: p(z_L), whose shape broadcasts to z_L's, as
    Normal(torch.zeros(()), 1.0). convention: what log p(x | z_1) is of, see `Bound`.
    One layer is the VAE of arXiv:1312.6114. T layers whose q are the kernels of a noising process are the diffusion
    model of arXiv:2006.11239, whose bound `elbo` computes step by step, as x_t of any t is drawn at once.
    """

    up: tuple[Conditional, ...]
    log_prob: Callable[[Any, Any], Tensor]
    prior: Distribution
    down: tuple[Conditional, ...] = ()
    convention: str = DENSITY

    def __post_init__(self) -> None:
        if len(self.up) != len(self.down) + 1:
            raise Refused(
                f"a chain with {len(self.up)} layers has one q each, and p(z_l | z_l+1) for all but the top one: "
                f"{len(self.up) - 1}, not {len(self.down)}"
            )

    def terms(self, x: Any, random: Random) -> tuple[Tensor, Tensor, Tensor]:
        """For one draw of z: KL(q(z_L | z_{L-1}) || p(z_L)), (batch,); log q(z_l | z_{l-1}) - log p(z_l | z_{l+1}) of
        the layers below, from the top one down, (batch, L-1); and -log p(x | z_1), (batch,). In nats, float64.

        On average over the draws their sum is the bound on -log p(x); its gradient is the reparameterised one.
        """
        beliefs, latents = self._climb(x, random)
        top = beliefs[-1].kl(self.prior).double()
        steps = [
            beliefs[i].log_prob(latents[i]).double() - self.down[i](latents[i + 1]).log_prob(latents[i]).double()
            for i in reversed(range(len(self.down)))
        ]
        between = torch.stack(steps, 1) if steps else top.new_zeros(len(top), 0)
        return top, between, -self.log_prob(x, latents[0]).double()

    def log_weight(self, x: Any, random: Random) -> Tensor:
        """log p(x, z) - log q(z | x) of one draw z ~ q(z | x) in nats, (batch,), float64."""
        beliefs, latents = self._climb(x, random)
        found = self.log_prob(x, latents[0]).double() + self.prior.log_prob(latents[-1]).double()
        for belief, z in zip(beliefs, latents, strict=True):
            found = found - belief.log_prob(z).double()
        for back, z, above in zip(self.down, latents, latents[1:], strict=False):
            found = found + back(above).log_prob(z).double()
        return found

    def _climb(self, x: Any, random: Random) -> tuple[list[Distribution], list[Any]]:
        """q of every layer, and what was drawn of it; raises Refused for one that is certain, which has no density."""
        beliefs, latents = list[Distribution](), list[Any]()
        for i, q in enumerate(self.up):
            belief = q(latents[-1] if latents else x)
            if belief.certain:
                raise Refused("q(z | x) is certain: a latent without noise has no density, and so x has no bound")
            beliefs.append(belief)
            latents.append(belief.sample(random.fold(i)))
        return beliefs, latents


@devices.on_cpu()
@torch.no_grad()
def hierarchical(
    vae: HierarchicalVAE,
    x: Tensor,
    *,
    draws: int = 1,
    seed: int = 0,
    indices: Tensor | None = None,
    batch: int | None = None,
    progress: Progress = silent,
) -> Bound:
    """KL(q(z_L | .) || p(z_L)) + sum of E[log q(z_l | .) - log p(z_l | z_{l+1})] + E[-log p(x | z_1)].

    x: (batch, *shape). draws: of z for each datum, which depend on (seed, indices[i]) only. As layer l of L is noisier
    than the ones below, the result's times are l/L; with one layer `prior` is the KL, which is exact.
    Source: arXiv:1312.6114, eq. 3 and 7. Raises Refused for no data, no draws, and a q without noise.
    """
    _refuse_none(x, draws, "draw of z")
    found, done = list[tuple[Tensor, ...]](), 0
    for _, some, random, _ in parts(x, seed, indices, batch, {}):
        runs = []
        for i in range(draws):
            top, steps, rebuilt = vae.terms(some, random.fold(i))
            runs.append(torch.cat([top[:, None], steps, rebuilt[:, None]], 1))
            done += len(some)
            progress(done, len(x) * draws)
        each = torch.stack(runs)  # (draws, batch, L + 1)
        error = each.sum(2).std(0) / draws**0.5 if draws > 1 else torch.full_like(each[0, :, 0], torch.nan)
        mean = each.mean(0)
        found.append((mean[:, 0], mean[:, 1:-1], mean[:, -1], error))
    prior, steps, rebuilt, error = (torch.cat(each).cpu() for each in zip(*found, strict=True))
    layers = len(vae.up)
    times = torch.arange(layers, 0, -1, dtype=torch.float64) / layers
    return Bound(prior, steps, rebuilt, error, times, x[0].numel(), vae.convention)


@devices.on_cpu()
@torch.no_grad()
def importance_weighted(
    vae: HierarchicalVAE,
    x: Tensor,
    k: int,
    *,
    seed: int = 0,
    indices: Tensor | None = None,
    batch: int | None = None,
    progress: Progress = silent,
) -> Tensor:
    """-log (1/k sum w_i),  w_i = p(x, z_i) / q(z_i | x), z_i ~ q(z | x): an upper bound on -log p(x) on average, in
    nats, (batch,), float64 on the CPU.

    k = 1 is the variational bound; it falls with k, to -log p(x). Source: arXiv:1509.00519, eq. 8.
    Raises Refused as `hierarchical` does.
    """
    _refuse_none(x, k, "importance sample")
    found, done = list[Tensor](), 0
    for _, some, random, _ in parts(x, seed, indices, batch, {}):
        total = torch.full((len(some),), -math.inf, dtype=torch.float64)
        for i in range(k):
            total = torch.logaddexp(total, vae.log_weight(some, random.fold(i)).cpu())
            done += len(some)
            progress(done, len(x) * k)
        found.append(math.log(k) - total)
    return torch.cat(found)


def _refuse_none(x: Tensor, count: int, what: str) -> None:
    if len(x) == 0:
        raise Refused("there are no data to score")
    if count < 1:
        raise Refused(f"a bound needs at least 1 {what}, not {count}")
