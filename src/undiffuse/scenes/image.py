"""Images themselves, the playground of score distillation: each is trained number by number."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.rendering.renderable import Renderable, Rendering


class ImageScene(Renderable):
    """`count` items of a prior, of whatever shape: images, or points. They look the same from everywhere.

    Item i of a batch is item i mod count. noise: the deviation of the numbers that they start from, around 0.
    """

    solid: ClassVar[bool] = False

    def __init__(self, shape: tuple[int, ...], count: int = 16, noise: float = 0.5) -> None:
        super().__init__()
        if count < 1 or noise < 0:
            raise Refused(f"images need a count of 1 or more and noise of 0 or more, not {count} and {noise:g}")
        self.values = nn.Parameter(noise * torch.randn(count, *shape, dtype=torch.float32))

    def forward(self, cameras: Tensor, random: Random | None = None, normals: bool = False) -> Rendering:
        rows = torch.arange(len(cameras)) if random is None or random.indices is None else random.indices
        return Rendering(self.values[rows.to(self.values.device) % len(self.values)])

    def items(self) -> int:
        return len(self.values)

    def roughness(self) -> Tensor:
        axes = range(2, self.values.ndim)
        return sum((self.values.diff(dim=axis).square().mean() for axis in axes), self.values.new_zeros(()))

    def field(self, points: Tensor) -> tuple[Tensor, Tensor]:
        raise Refused("images have no third dimension: take scene.name = 'voxels' or 'nerf'")
