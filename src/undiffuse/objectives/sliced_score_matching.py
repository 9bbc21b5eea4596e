"""Sliced score matching: the score's divergence by random directions, without knowing the noise in the data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from undiffuse.core.errors import Refused, unknown
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.score_matching import ScoreMatching
from undiffuse.time_distributions.uniform import Uniform

Projection = Literal["rademacher", "gaussian", "sphere", "unit_sphere"]


@dataclass(frozen=True)
class SlicedScoreMatching(ScoreMatching):
    """loss = sigma^2 J / d,  J = v . grad(v . score) + 1/2 |score|^2 at x_t, averaged over `slices` directions v.

    projection: "rademacher" (signs), "gaussian", "sphere" (of radius sqrt(d)): E[v v'] = 1, so J's expectation is exact
    score matching's; "unit_sphere" has E[v v'] = 1/d, as in part of the paper's code: J is d times smaller.
    reduced: the second term as above (SSM-VR); without, 1/2 (v . score)^2, which has more variance. A unit sphere with
    `reduced` is refused: its two terms would not match.
    times: how the noise levels are drawn. Source: arXiv:1905.07088, eq. 7 and 8; over levels arXiv:1907.05600.
    """

    projection: Projection = "rademacher"
    reduced: bool = True
    slices: int = 1
    times: TimeDistribution = field(default_factory=Uniform)

    aliases: ClassVar[tuple[str, ...]] = ("ssm",)

    def __post_init__(self) -> None:
        if self.projection not in _PROJECTIONS:
            raise unknown("sliced_score_matching's projection", self.projection, _PROJECTIONS)
        if self.reduced and self.projection == "unit_sphere":
            raise Refused(
                "sliced_score_matching with reduced = true needs E[v v'] = 1: take sphere, of radius sqrt(d), in place "
                "of unit_sphere, or reduced = false"
            )
        if self.slices < 1:
            raise Refused(f"sliced_score_matching needs at least 1 slice, not {self.slices}")

    def functional(self, score: Callable[[Tensor], Tensor], x: Tensor, random: Random) -> Tensor:
        """The mean of J over `slices` directions."""
        return torch.stack([self.value(score, x, random.fold(1, i)) for i in range(self.slices)]).mean(0)

    def value(self, score: Callable[[Tensor], Tensor], x: Tensor, random: Random) -> Tensor:
        """J of any score at x along one direction a sample: (batch,), a sum over elements, with a graph to train by."""
        v = _PROJECTIONS[self.projection](random, tuple(x.shape)).to(x)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the other kernels of attention have one derivative
            x = x.detach().requires_grad_()
            s = score(x)
            along = (v * s).flatten(1).sum(1)
            (slope,) = torch.autograd.grad(along.sum(), x, create_graph=True)
        size = s.square().flatten(1).sum(1) if self.reduced else along.square()
        value = (v * slope).flatten(1).sum(1) + size / 2
        return value if torch.is_grad_enabled() else value.detach()


def _rademacher(random: Random, shape: tuple[int, ...]) -> Tensor:
    return 1.0 - 2.0 * (random.bits(shape) & 1)


def _gaussian(random: Random, shape: tuple[int, ...]) -> Tensor:
    return random.normal(shape, dtype=torch.float64)


def _unit_sphere(random: Random, shape: tuple[int, ...]) -> Tensor:
    v = _gaussian(random, shape).flatten(1)
    return (v / v.norm(dim=1, keepdim=True)).reshape(shape)


def _sphere(random: Random, shape: tuple[int, ...]) -> Tensor:
    return _unit_sphere(random, shape) * torch.Size(shape[1:]).numel() ** 0.5


_PROJECTIONS: dict[str, Callable[[Random, tuple[int, ...]], Tensor]] = {
    "rademacher": _rademacher,
    "gaussian": _gaussian,
    "sphere": _sphere,
    "unit_sphere": _unit_sphere,
}
