"""A generator of small images and of points: fully connected layers from noise to an item."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.implicit import ImplicitNetwork
from undiffuse.networks.embeddings import Label


class MLPGenerator(ImplicitNetwork):
    """z (batch, latents) -> x (batch, *shape) in [-1, 1]: `depth` hidden layers of `width`, and tanh at the end.

    A class is a bias of the first layer. shape, classes: given by the data. Raises Refused for sizes below 1, and for
    noise of another size.
    """

    def __init__(
        self, shape: tuple[int, ...] = (2,), latents: int = 32, width: int = 256, depth: int = 2, classes: int = 0
    ) -> None:
        super().__init__()
        self.shape, self.latents, self.classes = tuple(shape), latents, classes
        self.body = LabelledPerceptron(latents, math.prod(shape), width, depth, classes, "an mlp_generator")

    def forward(self, z: Tensor, label: Tensor | None = None, drop: Drop = None) -> Tensor:
        if z.shape[1:] != (self.latents,):
            raise Refused(f"this mlp_generator takes noise of shape ({self.latents},), not {tuple(z.shape[1:])}")
        return torch.tanh(self.body(z, label, drop)).unflatten(1, self.shape)


class LabelledPerceptron(nn.Module):
    """x (batch, inside) -> (batch, out): `depth` hidden layers with leaky ReLU, a class a bias of the first one.

    Raises Refused, in the owner's name, for sizes below 1.
    """

    def __init__(self, inside: int, out: int, width: int, depth: int, classes: int, owner: str) -> None:
        super().__init__()
        for name, value in {"latents": inside, "width": width, "depth": depth}.items():
            if value < 1:
                raise Refused(f"{name} = {value}: {owner} needs at least 1")
        widths = [inside, *[width] * depth, out]
        self.layers = nn.ModuleList([nn.Linear(*pair) for pair in pairwise(widths)])
        self.label = Label(classes, width)

    def forward(self, x: Tensor, label: Tensor | None = None, drop: Drop = None) -> Tensor:
        enter, *later = self.layers
        h = self.label(enter(x), label, drop)
        for layer in later:
            h = layer(F.leaky_relu(h, 0.2))
        return h
