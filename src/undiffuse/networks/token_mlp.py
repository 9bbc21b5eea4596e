"""The first network for tokens: a perceptron that all noise levels share, with a readout for each."""

import math
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.families import TOKENS
from undiffuse.core.network import Network
from undiffuse.networks.embeddings import Label
from undiffuse.networks.readouts import Readout


class TokenMLP(Network):
    """Tokens x (batch, *shape), c_time (batch,) -> logits (batch, *shape, vocabulary): `depth` hidden layers of
    sigmoids over one-hot tokens, and a linear readout of each noise level's own.

    vocabulary: symbols, a mask among them. shape: of one item. noise_levels, readouts: of the schedule's table, and
    how many; see `Readout`.
    classes: number of classes, 0 for none; a class adds a learned vector to the last hidden layer, null nothing.
    Raises Refused for values and for items of another length. Source: arXiv:1503.03585, app. D.1 (50 units, 3 layers).
    """

    families: ClassVar[frozenset[str]] = TOKENS
    forms: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(
        self,
        vocabulary: int = 0,
        shape: tuple[int, ...] = (),
        noise_levels: int = 0,
        classes: int = 0,
        width: int = 50,
        depth: int = 3,
        readouts: int = 0,
    ) -> None:
        super().__init__()
        if vocabulary < 2:
            raise Refused("token_mlp is for tokens: it needs process.name = 'categorical' and data with a vocabulary")
        if width < 1 or depth < 1 or not math.prod(shape):
            raise Refused(f"token_mlp needs width, depth and a length of at least 1, not {width}, {depth} and {shape}")
        self.vocabulary, self.shape = vocabulary, tuple(shape)
        size = math.prod(shape)
        widths = [size * vocabulary, *[width] * depth]
        self.hidden = nn.ModuleList([_layer(a, b) for a, b in pairwise(widths)])
        self.label = Label(classes, width)
        self.readout = Readout(width, size * vocabulary, noise_levels, readouts)

    def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Drop = None) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise Refused(f"this token_mlp takes items of shape {self.shape}, not {tuple(x.shape[1:])}")
        h = F.one_hot(x, self.vocabulary).flatten(1).to(self.readout.every.weight.dtype)
        for layer in self.hidden:
            h = 2 * torch.sigmoid(layer(h)) - 1
        h = self.label(h, label, drop)
        return self.readout(h, c_time).view(*x.shape, self.vocabulary)


def _layer(width: int, out: int) -> nn.Linear:
    layer = nn.Linear(width, out)
    nn.init.xavier_uniform_(layer.weight, gain=4.0)  # a sigmoid's slope is 1/4 at 0
    nn.init.zeros_(layer.bias)
    return layer
