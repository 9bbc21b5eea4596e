"""A grid of voxels: density and colour at its corners, and between them in proportion."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.rendering.volume import Background, Volume, fog


class Voxels(Volume):
    """side^3 corners over the cube from -1 to 1, of which the unit sphere is seen.

    density = strength softplus(d + blob (radius - |x|)), colour = sigmoid(c), with d and c trilinear in the grid and 0
    at first: training starts from a ball of grey fog. samples, background: see `Volume`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        side: int = 32,
        samples: int = 48,
        background: Background = "white",
        strength: float = 15.0,
        blob: float = 8.0,
        radius: float = 0.4,
    ) -> None:
        super().__init__(shape, samples, background)
        if side < 2 or strength <= 0:
            raise Refused(f"voxels need a side of 2 or more and a strength above 0, not {side} and {strength:g}")
        self.strength, self.blob, self.radius = strength, blob, radius
        self.grid = nn.Parameter(torch.zeros(1, 4, side, side, side, dtype=torch.float32))

    def field(self, points: Tensor) -> tuple[Tensor, Tensor]:
        where = points.flip(-1)[None, :, None, None]  # grid_sample's first coordinate is the last axis
        found = F.grid_sample(self.grid, where, align_corners=True, padding_mode="border")[0, :, :, 0, 0]
        return fog(points, found.T, self.strength, self.blob, self.radius)

    def roughness(self) -> Tensor:
        return sum((self.grid.diff(dim=axis).square().mean() for axis in (2, 3, 4)), self.grid.new_zeros(()))
