"""A generator of small images and of points: fully connected layers from noise to an item."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.implicit import ImplicitNetwork


class MLPGenerator(ImplicitNetwork):
    """z (batch, latents) -> x (batch, *shape) in [-1, 1]: `depth` hidden layers of `width`, and tanh at the end.

    shape: given by the data. Raises Refused for sizes below 1, and for noise of another size.
    """

    def __init__(self, shape: tuple[int, ...] = (2,), latents: int = 32, width: int = 256, depth: int = 2) -> None:
        super().__init__()
        self.shape, self.latents = tuple(shape), latents
        self.body = perceptron(latents, math.prod(shape), width, depth, "an mlp_generator")

    def forward(self, z: Tensor) -> Tensor:
        if z.shape[1:] != (self.latents,):
            raise Refused(f"this mlp_generator takes noise of shape ({self.latents},), not {tuple(z.shape[1:])}")
        return torch.tanh(self.body(z)).unflatten(1, self.shape)


def perceptron(inside: int, out: int, width: int, depth: int, owner: str) -> nn.Sequential:
    """`depth` hidden layers with leaky ReLU; raises Refused, in the owner's name, for sizes below 1."""
    for name, value in {"latents": inside, "width": width, "depth": depth}.items():
        if value < 1:
            raise Refused(f"{name} = {value}: {owner} needs at least 1")
    widths = [inside, *[width] * depth, out]
    layers = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.LeakyReLU(0.2))]
    return nn.Sequential(*layers[:-1])
