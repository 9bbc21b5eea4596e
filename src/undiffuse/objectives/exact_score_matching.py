"""Exact score matching: the score's divergence element by element, for low dimension."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.score_matching import ScoreMatching
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class ExactScoreMatching(ScoreMatching):
    """loss = sigma^2 J / d,  J = tr(grad score) + 1/2 |score|^2 at x_t: half the squared error of the score, but for
    a number that does not depend on it.

    One backward pass an element, so data of more than `limit` elements is refused.
    times: how the noise levels are drawn. Source: Hyvarinen 2005; arXiv:1905.07088, eq. 3.
    """

    limit: int = 16
    times: TimeDistribution = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise Refused(f"exact_score_matching needs a limit of at least 1, not {self.limit}")

    def functional(self, score: Callable[[Tensor], Tensor], x: Tensor, random: Random) -> Tensor:
        """J, for which nothing is drawn."""
        return self.value(score, x)

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
