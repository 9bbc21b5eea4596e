"""A codebook: the decoder sees the nearest of a few vectors in place of each latent, and latents can be tokens."""

from typing import Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from undiffuse.core.bottleneck import Bottleneck
from undiffuse.core.distribution.distribution import Distribution, over_elements
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused


class VQBottleneck(Bottleneck):
    """decoder sees q = e_k, k = argmin |z - e_k|, with straight-through gradient d q / d z = 1, at each place.

    penalty = commitment |z - sg(q)|^2, and where codes learn by "gradient" + |sg(z) - q|^2. By "ema" each code is the
    mean of the latents that it stood for: with N latents of sum M in a step, n <- decay n + (1 - decay) N,
    m <- decay m + (1 - decay) M, e = m / n. A code that stands for fewer than `dead_below` latents a step (n) is moved
    onto a latent of the batch, and counted; so all are in the first step. The posterior is z itself, so that a
    diffusion model sees latents that are not quantised.
    channels: of the latents; given by the network. size: codes, which is the vocabulary of tokens.
    Source: arXiv:1711.00937, eq. 3 and app. A.1; the quantiser in the decoder: arXiv:2112.10752, sec. 3.1.
    Raises Refused for fewer than 2 codes and for numbers that do not fit.
    """

    codebook: Tensor
    count: Tensor
    total: Tensor
    revived: Tensor
    seen: Tensor
    drawn: Tensor

    def __init__(
        self,
        channels: int = 4,
        size: int = 1024,
        learn: Literal["ema", "gradient"] = "ema",
        commitment: float = 0.25,
        decay: float = 0.99,
        dead_below: float = 0.1,
    ) -> None:
        super().__init__()
        if size < 2 or channels < 1:
            raise Refused(f"a codebook has 2 codes or more of 1 channel or more, not {size} of {channels}")
        if learn not in ("ema", "gradient"):
            raise Refused(f"codes learn by 'ema' or by 'gradient', not {learn!r}")
        if not (0 <= decay < 1 and commitment >= 0 and dead_below >= 0):
            raise Refused(
                f"a codebook needs 0 <= decay < 1, commitment >= 0 and dead_below >= 0, not {decay:g}, {commitment:g} "
                f"and {dead_below:g}"
            )
        self.size, self.commitment, self.decay, self.dead_below = size, commitment, decay, dead_below
        self.by_gradient = learn == "gradient"
        codes = torch.randn(size, channels, dtype=torch.float32)
        if self.by_gradient:
            self.codebook = nn.Parameter(codes)
        else:
            self.register_buffer("codebook", codes)
        self.register_buffer("count", torch.zeros(size, dtype=torch.float32))
        self.register_buffer("total", torch.zeros(size, channels, dtype=torch.float32))
        self.register_buffer("revived", torch.zeros((), dtype=torch.int64))
        # of one step: N and M side by side, and a latent for each code; gone when the step is over
        self.register_buffer("seen", torch.zeros(size, 1 + channels, dtype=torch.float32), persistent=False)
        self.register_buffer("drawn", torch.zeros(size, channels, dtype=torch.float32), persistent=False)

    @property
    def vocabulary(self) -> int:  # type: ignore[override]
        return self.size

    def outputs(self, latent_channels: int) -> int:
        """As many."""
        return latent_channels

    def posterior(self, h: Tensor) -> Distribution:
        """h for certain, not quantised."""
        return Normal(h, 0.0)

    def forward(self, z: Tensor) -> Tensor:
        """The nearest codes, with the gradient of z."""
        return z + (self.embed(self.tokens(z)).to(z.dtype) - z).detach()

    def penalty(self, posterior: Distribution, z: Tensor) -> Tensor:
        """See the class; in training mode and with gradients it also notes which codes were nearest."""
        tokens = self.tokens(z)
        nearest = self.embed(tokens)
        if self.training and torch.is_grad_enabled():
            self._note(z.detach(), tokens)
        cost = self.commitment * over_elements((z - nearest.detach()) ** 2)
        return cost + over_elements((z.detach() - nearest) ** 2) if self.by_gradient else cost

    @torch.no_grad()
    def tokens(self, h: Tensor) -> Tensor:
        """The number of the nearest code at each place, int64 (batch, ...)."""
        with torch.autocast(h.device.type, enabled=False):
            codes, places = self.codebook.float(), h.movedim(1, -1).float()
            far = codes.square().sum(1) - 2 * places @ codes.T  # |z - e|^2 - |z|^2
        return far.argmin(-1)

    def embed(self, tokens: Tensor) -> Tensor:
        """The codes of tokens (batch, ...) -> (batch, channels, ...)."""
        return F.embedding(tokens, self.codebook).movedim(-1, 1)

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Let the codes follow what was noted in this step, among all processes, and revive those that died."""
        for each in (self.seen, self.drawn):
            if distributed.is_available() and distributed.is_initialized():
                distributed.all_reduce(each)
        first = ~self.count.any()
        self.count.lerp_(self.seen[:, 0], 1 - self.decay)
        self.total.lerp_(self.seen[:, 1:], 1 - self.decay)
        dead = first | (self.count < self.dead_below)
        alive = self.total / self.count.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        codes = self.codebook if self.by_gradient else alive
        self.codebook.copy_(torch.where(dead[:, None], self.drawn, codes))
        self.count.copy_(torch.where(dead, 1.0, self.count))
        self.total.copy_(torch.where(dead[:, None], self.drawn, self.total))
        self.revived += dead.sum()
        self.seen.zero_()
        self.drawn.zero_()

    def signs(self) -> dict[str, float]:
        """How many codes are in use, as e^entropy of how often each is, and how many were revived so far."""
        shares = self.count / self.count.sum().clamp(min=1e-30)
        entropy = -(shares * shares.clamp(min=1e-30).log()).sum()
        return {"codes_used": float(entropy.exp()), "codes_revived": float(self.revived)}

    def _note(self, z: Tensor, tokens: Tensor) -> None:
        """Add to N and M, and draw a latent for each code: of several processes each draws for some of the codes."""
        places, chosen = z.movedim(1, -1).flatten(0, -2).to(self.seen), tokens.flatten()
        ones = torch.ones_like(places[:, :1])
        self.seen.index_add_(0, chosen, torch.cat([ones, places], dim=1))
        several = distributed.is_available() and distributed.is_initialized()
        world, rank = (distributed.get_world_size(), distributed.get_rank()) if several else (1, 0)
        mine = torch.arange(self.size, device=z.device) % world == rank
        some = places[torch.randint(len(places), (self.size,), device=z.device)]
        self.drawn.copy_(torch.where(mine[:, None], some, 0.0))
