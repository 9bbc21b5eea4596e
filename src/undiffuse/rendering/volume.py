"""Volume rendering: what a ray sees of a density and a colour that fill the unit sphere."""

from abc import ABC
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused, unknown
from undiffuse.core.random import Random
from undiffuse.rendering import cameras as views
from undiffuse.rendering.renderable import Renderable, Rendering

Background = Literal["white", "black", "random", "learned"]
NEAR = 0.02  # how far apart densities are compared for a normal


def chords(begin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the unit sphere, (...,) each, as distances along unit directions; the same number
    where they miss it. begin, direction: (..., 3).
    """
    along = -(begin * direction).sum(-1)
    half = (1 - begin.square().sum(-1) + along.square()).clamp(min=0).sqrt()
    return along - half, along + half


def composite(density: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """The weights of the pieces of a ray, nearest first, (..., pieces), and the ray's opacity, (...,).

    weight_i = exp(-sum_{j<i} density_j length_j) (1 - exp(-density_i length_i)); opacity = 1 - exp(-sum_j density_j
    length_j), which is their sum. Source: arXiv:2003.08934, eq. 3.
    """
    depth = density * length
    passed = depth.cumsum(-1)
    return torch.exp(depth - passed) * -torch.expm1(-depth), -torch.expm1(-passed[..., -1])


def fog(points: Tensor, values: Tensor, strength: float, blob: float, radius: float) -> tuple[Tensor, Tensor]:
    """density = strength softplus(d + blob (radius - |x|)), (count,), and colour = sigmoid(c), (count, 3), at points x
    (count, 3). values: (d, c) at each, (count, 4).
    """
    density = F.softplus(values[:, 0] + blob * (radius - points.norm(dim=-1)))
    return strength * density, values[:, 1:].sigmoid()


def picture_size(shape: tuple[int, ...]) -> int:
    """The side of pictures of this shape; raises Refused where they are not 3 x size x size."""
    if len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2]:
        raise Refused(f"a scene in three dimensions is seen as pictures 3 x size x size, not of shape {shape}")
    return shape[-1]


def checked_background(background: Background) -> Background:
    """The background; raises Refused for a name that is none."""
    if background not in get_args(Background):
        raise unknown("the background of a scene", background, get_args(Background))
    return background


def colour_behind(background: str, learned: Tensor | None, cameras: Tensor, random: Random | None) -> Tensor:
    """The colour of the background, (batch, 3) in [0, 1]. learned: as log odds, (3,)."""
    if learned is not None:
        return learned.sigmoid().expand(len(cameras), 3)
    if background == "random" and random is not None:
        return random.fold(1).uniform((len(cameras), 3)).to(cameras)
    return cameras.new_full((len(cameras), 3), 0.0 if background == "black" else 1.0)


class Volume(Renderable, ABC):
    """Density and colour in the unit sphere, rendered as pictures of 3 x size x size pixels in [-1, 1].

    shape: of a picture. samples: pieces of each ray, from where it enters the sphere to where it leaves it; while
    training the place in a piece is drawn, one for each ray. background: behind everything, of one colour; "random"
    draws one for each picture while training, "learned" learns one.
    Raises Refused for pictures that are not 3 x size x size, for fewer than 2 samples and other backgrounds.
    """

    solid: ClassVar[bool] = True

    def __init__(self, shape: tuple[int, ...], samples: int, background: Background) -> None:
        super().__init__()
        if samples < 2:
            raise Refused(f"a ray needs 2 samples or more, not {samples}")
        self.size, self.samples, self.background = picture_size(shape), samples, checked_background(background)
        learns = background == "learned"
        self.behind = nn.Parameter(torch.zeros(3, dtype=torch.float32)) if learns else None  # as log odds

    def forward(self, cameras: Tensor, random: Random | None = None, normals: bool = False) -> Rendering:
        with torch.autocast(cameras.device.type, enabled=False):
            begin, directions = views.rays(cameras, self.size)
            begin = begin[:, None, None].expand_as(directions)
            near, far = chords(begin, directions)
            length = ((far - near) / self.samples)[..., None].expand(*near.shape, self.samples)
            within = self._within(near, random)
            distance = near[..., None] + (within + torch.arange(self.samples, device=near.device)) * length
            points = begin[..., None, :] + distance[..., None] * directions[..., None, :]
            density, colour = self.field(points.reshape(-1, 3))
            weights, opacity = composite(density.reshape(length.shape), length)
            seen = (weights[..., None] * colour.reshape(points.shape)).sum(-2)
            behind = colour_behind(self.background, self.behind, cameras, random)
            seen = seen + (1 - opacity)[..., None] * behind[:, None, None]
            away = self._away(points, directions, density, weights) if normals else None
        return Rendering(2 * seen.permute(0, 3, 1, 2) - 1, opacity.flatten(1), away)

    def items(self) -> int:
        return 1

    def _within(self, near: Tensor, random: Random | None) -> Tensor:
        """Where in its pieces each ray is sampled, (batch, size, size, 1) in (0, 1)."""
        if random is None:
            return torch.full_like(near, 0.5)[..., None]
        return random.fold(0).uniform(tuple(near.shape)).to(near)[..., None]

    def _away(self, points: Tensor, directions: Tensor, density: Tensor, weights: Tensor) -> Tensor:
        """How much of what is seen faces away, (batch,); weights as they are, so that nothing hides to lower it."""
        flat = points.reshape(-1, 3)
        moved = NEAR * torch.eye(3, dtype=flat.dtype, device=flat.device)
        slope = torch.stack([self.field(flat + each)[0] - density for each in moved], dim=-1)
        normal = torch.nn.functional.normalize(-slope, dim=-1, eps=1e-6).reshape(points.shape)
        facing = (normal * directions[..., None, :]).sum(-1).clamp(min=0)
        return (weights.detach() * facing.square()).sum(-1).flatten(1).mean(1)
