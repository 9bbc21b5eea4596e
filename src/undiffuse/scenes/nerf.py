"""A small NeRF: density and colour as a perceptron of the place."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.rendering.volume import Background, Volume, fog


class NeRF(Volume):
    """density = strength softplus(d + blob (radius - |x|)), colour = sigmoid(c), (d, c) = a perceptron of x and of the
    sine and cosine of 2^k pi x, k < frequencies; d and c are 0 at first.

    The colour does not depend on the direction. depth: layers; width: of each. samples, background: see `Volume`.
    Source: arXiv:2003.08934, sec. 5.1; the blob: arXiv:2209.14988, app. A.2.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        frequencies: int = 4,
        width: int = 48,
        depth: int = 3,
        samples: int = 48,
        background: Background = "white",
        strength: float = 15.0,
        blob: float = 8.0,
        radius: float = 0.4,
    ) -> None:
        super().__init__(shape, samples, background)
        if min(frequencies, width) < 1 or depth < 2 or strength <= 0:
            raise Refused(
                "a nerf needs frequencies and a width of 1 or more, a depth of 2 or more and a strength above 0, not "
                f"{frequencies}, {width}, {depth} and {strength:g}"
            )
        self.frequencies, self.strength, self.blob, self.radius = frequencies, strength, blob, radius
        sizes = [3 + 6 * frequencies, *[width] * (depth - 1), 4]
        self.layers = nn.ModuleList(nn.Linear(inner, outer, dtype=torch.float32) for inner, outer in pairwise(sizes))
        for weight in self.layers[-1].parameters():
            nn.init.zeros_(weight)

    def field(self, points: Tensor) -> tuple[Tensor, Tensor]:
        scales = math.pi * 2.0 ** torch.arange(self.frequencies, dtype=points.dtype, device=points.device)
        angles = (points[:, :, None] * scales).flatten(1)
        h = torch.cat([points, angles.sin(), angles.cos()], dim=1)
        *inner, last = self.layers
        for layer in inner:
            h = layer(h).relu()
        return fog(points, last(h), self.strength, self.blob, self.radius)

    def roughness(self) -> Tensor:
        return self.layers[0].weight.new_zeros(())  # pyright: ignore[reportCallIssue, reportReturnType]
