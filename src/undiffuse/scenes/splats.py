"""Gaussian splats: a cloud of coloured ellipsoids that are seen without stepping along rays."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.rendering import cameras as views
from undiffuse.rendering.renderable import Renderable, Rendering
from undiffuse.rendering.volume import Background, checked_background, colour_behind, picture_size

MOST = 0.999  # opacity of one splat
FIRST = 0.1  # opacity at first


class Splats(Renderable):
    """`count` Gaussians with a mean m, axes, an opacity o and a colour each, 3 x size x size pixels in [-1, 1].

    A ray b + s d is held up by alpha = o exp(-q/2), q = min_s |A (b + s d - m)|^2 with A = diag(1/scale) R^T: the most
    that it meets of the Gaussian. Nearest first, by the depth of the means, each adds alpha prod_{earlier} (1 - alpha)
    of its colour. Training starts from grey balls of deviation `scale`, spread in a ball of this radius.
    background: see `Volume`. Raises Refused for pictures that are not 3 x size x size, for fewer than 1 splat, for a
    scale and a radius of 0 or less, and for normals, which splats have none of.
    Source: arXiv:2308.04079, eq. 3 to 6; there Gaussians are flattened onto the picture, here each ray is exact.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        count: int = 300,
        scale: float = 0.08,
        radius: float = 0.5,
        background: Background = "white",
    ) -> None:
        super().__init__()
        if count < 1 or not min(scale, radius) > 0:
            raise Refused(
                f"splats need a count of 1 or more and a scale and radius above 0, not {count}, {scale:g} and "
                f"{radius:g}"
            )
        self.size = picture_size(shape)
        self.background = checked_background(background)
        placed = F.normalize(torch.randn(count, 3, dtype=torch.float32), dim=1)
        self.means = nn.Parameter(radius * placed * torch.rand(count, 1, dtype=torch.float32) ** (1 / 3))
        self.scales = nn.Parameter(torch.full((count, 3), math.log(scale), dtype=torch.float32))  # logarithms
        self.turns = nn.Parameter(torch.tensor([1.0, 0, 0, 0], dtype=torch.float32).repeat(count, 1))  # quaternions
        self.opacities = nn.Parameter(torch.full((count,), math.log(FIRST / (1 - FIRST)), dtype=torch.float32))
        self.colours = nn.Parameter(torch.zeros(count, 3, dtype=torch.float32))  # log odds, as the opacities
        learns = background == "learned"
        self.behind = nn.Parameter(torch.zeros(3, dtype=torch.float32)) if learns else None

    def forward(self, cameras: Tensor, random: Random | None = None, normals: bool = False) -> Rendering:
        if normals:
            raise Refused("splats have no surface that could turn away: set objective.orientation = 0")
        with torch.autocast(cameras.device.type, enabled=False):
            begin, directions = views.rays(cameras, self.size)
            forward = views.axes(cameras)[2]
            order = torch.einsum("kc,bc->bk", self.means.detach(), forward).argsort(1)  # nearest first, (batch, count)
            alpha = self._alpha(begin, directions.flatten(1, 2)).gather(
                2, order[:, None].expand(-1, self.size**2, -1)
            )  # (batch, rays, count)
            passed = torch.cumprod(1 - alpha, dim=2)
            weights = alpha * torch.cat([torch.ones_like(passed[..., :1]), passed[..., :-1]], dim=2)
            opacity = 1 - passed[..., -1]
            seen = weights @ self.colours.sigmoid()[order]  # (batch, rays, 3)
            behind = colour_behind(self.background, self.behind, cameras, random)
            seen = seen + (1 - opacity)[..., None] * behind[:, None]
        return Rendering(2 * seen.mT.unflatten(2, (self.size, self.size)) - 1, opacity)

    def items(self) -> int:
        return 1

    def field(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """A fog that holds up a ray through a mean, along any of the axes, as much as the splat does on average."""
        forms = self._forms()
        along = torch.einsum("kij,kj->ki", forms, self.means)
        squares = (points[:, :, None] * points[:, None, :]).flatten(1) @ forms.flatten(1).T  # (points, count)
        far = (squares - 2 * points @ along.T + (along * self.means).sum(1)).clamp(min=0)
        near = torch.exp(-0.5 * far)
        depth = -torch.log1p(-self._opacity()) / (math.sqrt(2 * math.pi) * self.scales.mean(1).exp())
        parts = near * depth
        density = parts.sum(1)
        return density, parts @ self.colours.sigmoid() / density.clamp(min=1e-12)[:, None]

    def roughness(self) -> Tensor:
        return self.means.new_zeros(())

    def _opacity(self) -> Tensor:
        return MOST * self.opacities.sigmoid()

    def _forms(self) -> Tensor:
        """A^T A, the inverse covariances, (count, 3, 3)."""
        rotation = rotations(self.turns)
        inner = rotation * torch.exp(-self.scales)[:, None]  # R diag(1/scale)
        return inner @ inner.mT

    def _alpha(self, begin: Tensor, directions: Tensor) -> Tensor:
        """How much each splat holds up rays from begin (batch, 3) along directions (batch, rays, 3), (batch, rays,
        count): q = |A c|^2 - (A c . A d)^2/|A d|^2, c = begin - mean.
        """
        forms = self._forms()
        away = begin[:, None] - self.means  # (batch, count, 3)
        along = torch.einsum("kij,bkj->bki", forms, away)
        far = (along * away).sum(2)[:, None]
        across = directions @ along.mT  # (batch, rays, count)
        squares = (directions[..., :, None] * directions[..., None, :]).flatten(2) @ forms.flatten(1).T
        return self._opacity() * torch.exp(-0.5 * (far - across.square() / squares).clamp(min=0))


def rotations(turns: Tensor) -> Tensor:
    """Rotation matrices of quaternions (count, 4) of any length, (count, 3, 3)."""
    w, x, y, z = F.normalize(turns, dim=1).unbind(1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=1).unflatten(1, (3, 3))
