"""The fully visible belief network: every value is a logistic regression on all values before it."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.autoregressive import AutoregressiveNetwork
from undiffuse.core.errors import Refused
from undiffuse.networks.embeddings import Label

MOST = 2**28  # weights, of which training holds four copies


class FVBN(AutoregressiveNetwork):
    """outputs of value i = b_i + sum over j < i of W_ij x_j: one linear layer whose weights are triangular.

    x (batch, channels, *places), any number of places. With two levels and the head `softmax` it is the logistic
    autoregressive model; its weights are quadratic in the values, so that it is for small images. A label is a bias of
    every value. channels, shape, outputs, classes: given by the data.
    Raises Refused for items of another shape, and for more than 2^28 weights.
    Source: Frey, Hinton and Dayan 1996; arXiv:1605.02226, sec. 2.1.
    """

    def __init__(
        self, channels: int = 1, shape: tuple[int, ...] = (1, 8, 8), outputs: int = 2, classes: int = 0
    ) -> None:
        super().__init__()
        self.channels, self.shape, self.outputs = channels, tuple(shape), outputs
        values = math.prod(shape)
        if (count := values**2 * outputs) > MOST:
            raise Refused(
                f"an fvbn of {values:,} values with {outputs:,} numbers each would have {count:,} weights, and "
                f"{MOST:,} are the most: take smaller items, fewer levels or another network, such as pixelcnn"
            )
        self.weight = nn.Parameter(torch.zeros(values, outputs, values))
        self.bias = nn.Parameter(torch.zeros(values, outputs))
        self.label = Label(classes, values * outputs)
        for table in self.label.parameters():
            nn.init.zeros_(table)

    def forward(self, x: Tensor, label: Tensor | None = None, drop: Any = None) -> Tensor:
        channels, *places = self._checked(x)
        earlier = self.weight.movedim(1, 0).tril(-1).movedim(0, 1)  # of value i the weights of values j < i
        weight = earlier.flatten(0, 1)  # (values * outputs, values)
        found = F.linear(x.movedim(1, -1).flatten(1), weight) + self._told(x, label, drop).flatten(1)
        return found.unflatten(1, (*places, channels, self.outputs)).movedim((-2, -1), (1, 2))

    def walk(self, x: Tensor, label: Tensor | None = None, drop: Any = None) -> Iterator[Tensor]:
        """A value's own rows of the weights alone."""
        self._checked(x)
        told = self._told(x, label, drop)
        for i in range(math.prod(self.shape)):
            before = x.movedim(1, -1).flatten(1)[:, :i]
            yield before @ self.weight[i, :, :i].T + told[:, i]

    def _told(self, x: Tensor, label: Tensor | None, drop: Any) -> Tensor:
        """The biases, with the label's, (batch, values, outputs)."""
        none = self.bias.flatten().expand(len(x), -1)
        return self.label(none, label, drop).unflatten(1, self.bias.shape)

    def _checked(self, x: Tensor) -> tuple[int, ...]:
        if tuple(x.shape[1:]) != self.shape:
            raise Refused(f"this fvbn takes items of shape {self.shape}, not {tuple(x.shape[1:])}")
        return self.shape
