"""A renderable and the frozen prior that it is trained by."""

from typing import Any

from torch import Tensor, nn

from undiffuse.core.random import Random
from undiffuse.rendering.renderable import Renderable, Rendering


class SceneModule(nn.Module):
    """Its weights are the renderable's alone.

    prior: has a `denoiser`, the `inverse` that finds noise, and `conditions(cameras)`, what both are told of each
    camera, see `sampling.scene_prior`.
    """

    def __init__(self, renderable: Renderable, prior: Any) -> None:
        super().__init__()
        self.renderable, self.prior = renderable, prior

    @property
    def network(self) -> Renderable:
        """What is compiled where training compiles."""
        return self.renderable

    def forward(self, cameras: Tensor, random: Random | None = None, normals: bool = False) -> Rendering:
        return self.renderable(cameras, random, normals)
