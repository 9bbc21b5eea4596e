"""Exact score matching: the score's divergence element by element, for low dimension."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.times import Draw, Uniform


@dataclass(frozen=True)
class ExactScoreMatching:
    """loss = sigma^2 J / d,  J = tr(grad score) + 1/2 |score|^2 at x_t: half the squared error of the score, but for
    a number that does not depend on it.

    One backward pass an element, so data of more than `limit` elements is refused.
    times: how the noise levels are drawn. Source: Hyvarinen 2005; arXiv:1905.07088, eq. 3.
    """

    limit: int = 16
    times: Draw = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise Refused(f"exact_score_matching needs a limit of at least 1, not {self.limit}")

    def __call__(self, denoiser: Denoiser, x_0: Tensor, random: Random, cond: Mapping[str, Any]) -> Tensor:
        """The loss of each sample, (batch,)."""
        t = self.times(denoiser.process.schedule, random.fold(0), len(x_0))
        return self.at(t, denoiser, x_0, random.fold(1), cond)

    def at(self, t: Tensor, denoiser: Denoiser, x_0: Tensor, random: Random, cond: Mapping[str, Any]) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        process: Any = denoiser.process
        x_t = process.marginal(x_0, t).sample(random.fold(0))
        _, sigma = process.schedule.at(t, x_0)

        def score(x: Tensor) -> Tensor:
            return process.score(x, denoiser(x, t, **cond), t)

        return (sigma**2).to(x_t).flatten() * self.value(score, x_t) / x_t[0].numel()

    def value(self, score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """J of any score at x: (batch,), a sum over elements, with a graph to train by."""
        size = x[0].numel()
        if size > self.limit:
            raise Refused(
                f"exact_score_matching takes a backward pass for each of the data's {size:,} elements, and its limit "
                f"is {self.limit:,}: use sliced_score_matching or denoising"
            )
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the other kernels of attention have one derivative
            x = x.detach().requires_grad_()
            s = score(x).flatten(1)
            trace = s.square().sum(1) / 2
            for i in range(size):
                (slope,) = torch.autograd.grad(s[:, i].sum(), x, create_graph=True)
                trace = trace + slope.flatten(1)[:, i]
        return trace if torch.is_grad_enabled() else trace.detach()
