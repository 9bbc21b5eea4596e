"""Gradient control: a few Adagrad steps move each step of a sampler to where a classifier likes it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from undiffuse.core.broadcast import column
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.guidance.gradient import gradient
from undiffuse.guidance.wrapping import Steered


@dataclass(frozen=True)
class GradientControl(Steered):
    """p(x_s given x_t, c) ~ N(m, var), m after `updates` Adagrad steps from the inner step's mean up
    weight log N(m; mean, var) + log p(c given m).

    log_likelihood: called as log_likelihood(x, s) with states (batch, *shape), gives (batch,). weight: of fluency; less
    obeys more. A step moves m by lr sqrt(channels) g / (sqrt(sum of |g|^2) + floor), |g|^2 summed over a sample, so
    that what the classifier cares about moves and the rest stays; each = "element" sums nothing, as in the paper, and
    moves every number it has a gradient for alike, by lr. Where c is sure the gradient falls below floor, and m stays.
    The paper starts from a draw and leaves it there; this moves the mean and draws afterwards, so that what no gradient
    reaches keeps the sampler's own law. A step without variance counts as one of 1; that to s = 0 is not moved.
    Source: arXiv:2205.14217, sec. 5.1 (Adagrad: its released code; one sum a sample: arXiv:1806.01811).
    Raises Refused for tokens, and for numbers that make no sense.
    """

    sampler: Sampler
    log_likelihood: Callable[[Tensor, Tensor], Tensor]
    weight: float = 0.01
    updates: int = 3
    lr: float = 0.1
    each: Literal["sample", "element"] = "sample"
    floor: float = 0.01

    default_steps: ClassVar[int] = 200

    def __post_init__(self) -> None:
        if self.each not in ("sample", "element"):
            raise Refused(f"gradient_control sums over each 'sample' or 'element', not {self.each!r}")
        if not (self.weight >= 0 and self.updates >= 0 and self.lr > 0 and self.floor > 0):
            raise Refused(
                "gradient_control needs weight >= 0, updates >= 0, lr > 0 and floor > 0, not "
                f"{self.weight:g}, {self.updates}, {self.lr:g} and {self.floor:g}"
            )

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        belief: Any
        belief, memory = self.sampler.step(denoiser, x_t, t, s, memory, random=random, **cond)
        if float(s) == 0:
            return belief, memory
        var = torch.as_tensor(1.0 if belief.certain else belief.var).to(belief.mean)

        def towards(x: Tensor) -> Tensor:
            near = ((x - belief.mean).square() / var).flatten(1).sum(1)
            return self.log_likelihood(x, s) - 0.5 * self.weight * near

        m, summed = belief.mean, torch.zeros((), dtype=belief.mean.dtype, device=belief.mean.device)
        for _ in range(self.updates):
            slope = gradient(towards, m, "the classifier")
            square = slope.square()
            if self.each == "sample":
                square = column(square.flatten(1).sum(1), m)
            summed = summed + square
            length = self.lr * (m.shape[1] ** 0.5 if self.each == "sample" else 1.0)
            m = m + length * slope / (summed.sqrt() + self.floor)
        return replace(belief, mean=m), memory
