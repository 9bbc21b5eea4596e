"""PixelRNN's LSTMs over images: a row at once from above, and diagonals from both sides; each also place by place."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.networks.embeddings import Label
from undiffuse.networks.masked import MaskedConv

TAPS = 3  # of the row LSTM, along its row and of the row above


class Walk(ABC):
    """A layer that is asked place by place, with what it keeps of the places before."""

    @abstractmethod
    def place(self, j: int, features: Tensor) -> Tensor:
        """The layer's output at column j of this row, (batch, width), as its input there is; may be asked again."""

    @abstractmethod
    def next_row(self, values: Tensor) -> None:
        """The row is done, of these values (batch, channels, columns): the next one begins."""


class RowLSTM(nn.Module):
    """x + out(h): a state of each place from its row up to it and from three states of the row above.

    Source: arXiv:1601.06759, sec. 3.1.
    """

    def __init__(self, width: int, channels: int, classes: int) -> None:
        super().__init__()
        self.inside = MaskedConv(width, 4 * width, channels, TAPS, parts=4)
        self.before = nn.Conv1d(width, 4 * width, TAPS, padding=TAPS // 2)
        self.out = MaskedConv(width, width, channels)
        self.label = label_of(classes, 4 * width)

    def forward(self, x: Tensor, values: Tensor, label: Tensor | None, drop: Any) -> Tensor:
        gates = self.inside(F.pad(x, (TAPS - 1, 0))) + told(self.label, x, label, drop)[..., None]
        h = c = torch.zeros_like(x[:, :, 0])
        states = list[Tensor]()
        for row in gates.unbind(2):
            h, c = cell(row + self.before(h), c)
            states.append(h)
        return x + self.out(torch.stack(states, 2))

    def walk(self, like: Tensor, label: Tensor | None, drop: Any) -> Walk:
        """Place by place, for items as `like`, (batch, width, columns)."""
        return RowWalk(self, like, told(self.label, like, label, drop)[..., 0])


class RowWalk(Walk):
    """Keeps the states of the row above and of this one, and this row's input."""

    def __init__(self, layer: RowLSTM, like: Tensor, bias: Tensor) -> None:
        self.layer, self.bias = layer, bias
        self.h, self.c = torch.zeros_like(like), torch.zeros_like(like)
        self.row = F.pad(torch.zeros_like(like), (TAPS - 1, 0))
        self.above, self.c_above = layer.before(self.h), self.c.clone()

    def next_row(self, values: Tensor) -> None:
        self.above, self.c_above = self.layer.before(self.h), self.c.clone()

    def place(self, j: int, features: Tensor) -> Tensor:
        self.row[..., j + TAPS - 1] = features
        inside = self.layer.inside(self.row[:, :, None, j : j + TAPS])[..., 0, 0]
        h, c = cell(inside + self.bias + self.above[..., j], self.c_above[..., j])
        self.h[..., j], self.c[..., j] = h, c
        return features + self.layer.out(h[..., None, None])[..., 0, 0]


class DiagonalLSTM(nn.Module):
    """x + out(h) + right's out(h), the latter a row lower: states from the left and above, and from the right and
    above. Together they are of everything before a place.

    Those from the right also read the values of the image themselves, which is no peek, a row lower: features leave out
    their own value, so that the last value of a row would be hidden from the next row otherwise.
    Source: arXiv:1601.06759, sec. 3.2.
    """

    def __init__(self, width: int, channels: int, classes: int) -> None:
        super().__init__()
        self.inside, self.out = MaskedConv(width, 4 * width, channels, parts=4), MaskedConv(width, width, channels)
        self.before = nn.Conv1d(width, 4 * width, 2)  # of (the place above, the place beside)
        self.right_inside, self.right_out = nn.Conv2d(width + channels, 4 * width, 1), nn.Conv2d(width, width, 1)
        self.right_before = nn.Conv1d(width, 4 * width, 2)
        self.label, self.right_label = label_of(classes, 4 * width), label_of(classes, 4 * width)

    def forward(self, x: Tensor, values: Tensor, label: Tensor | None, drop: Any) -> Tensor:
        left = over_diagonals(self.inside(x) + told(self.label, x, label, drop)[..., None], self.before)
        gates = self.right_inside(torch.cat([x, values], 1)) + told(self.right_label, x, label, drop)[..., None]
        right = over_diagonals(gates.flip(3), self.right_before).flip(3)
        return x + self.out(left) + F.pad(self.right_out(right), (0, 0, 1, 0))[:, :, :-1]

    def walk(self, like: Tensor, label: Tensor | None, drop: Any) -> Walk:
        """Place by place, for items as `like`, (batch, width, columns)."""
        biases = [told(each, like, label, drop)[..., 0] for each in (self.label, self.right_label)]
        return DiagonalWalk(self, like, *biases)


class DiagonalWalk(Walk):
    """Keeps the states of the row above and of this one; those from the right are found when a row is done."""

    def __init__(self, layer: DiagonalLSTM, like: Tensor, bias: Tensor, right_bias: Tensor) -> None:
        self.layer, self.bias, self.right_bias = layer, bias, right_bias
        self.row, self.above, self.right = (torch.zeros_like(like) for _ in range(3))
        self.h, self.c = (F.pad(torch.zeros_like(like), (1, 0)) for _ in range(2))  # of the places to the left, too
        self.lower = torch.zeros_like(like)

    def next_row(self, values: Tensor) -> None:
        self.above = self.h[..., 1:].clone()
        seen = torch.cat([self.row, values], 1)[:, :, None]
        gates = self.layer.right_inside(seen)[:, :, 0] + self.right_bias[..., None]
        h = c = torch.zeros_like(self.row[..., 0])
        for j in reversed(range(self.row.shape[-1])):
            both = torch.stack([self.right[..., j], h], 2)
            h, c = cell(gates[..., j] + self.layer.right_before(both)[..., 0], c)
            self.right[..., j] = h
        self.lower = self.layer.right_out(self.right[:, :, None])[:, :, 0]

    def place(self, j: int, features: Tensor) -> Tensor:
        self.row[..., j] = features
        both = torch.stack([self.above[..., j], self.h[..., j]], 2)
        inside = self.layer.inside(features[..., None, None])[..., 0, 0] + self.bias
        h, c = cell(inside + self.layer.before(both)[..., 0], self.c[..., j])
        self.h[..., j + 1], self.c[..., j + 1] = h, c
        return features + self.layer.out(h[..., None, None])[..., 0, 0] + self.lower[..., j]


def over_diagonals(gates: Tensor, before: nn.Module) -> Tensor:
    """The states (batch, width, rows, columns) of gates (batch, 4 width, rows, columns), one diagonal after the other.

    Rows are moved apart, row i by i places, so that a diagonal is a column, and back.
    """
    batch, _, rows, columns = gates.shape
    length = rows + columns - 1
    skewed = F.pad(gates, (0, rows)).flatten(2)[:, :, : rows * length].unflatten(2, (rows, length))
    offset = torch.arange(length, device=gates.device) - torch.arange(rows, device=gates.device)[:, None]
    there = ((offset >= 0) & (offset < columns)).to(gates.dtype)
    h = c = gates.new_zeros(batch, gates.shape[1] // 4, rows)
    states = list[Tensor]()
    for column, seen in zip(skewed.unbind(3), there.unbind(1), strict=True):
        h, c = cell(column + before(F.pad(h, (1, 0))), c)
        h, c = h * seen, c * seen
        states.append(h)
    flat = F.pad(torch.stack(states, 3).flatten(2), (0, rows))
    return flat.unflatten(2, (rows, rows + columns))[..., :columns]


def cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """An LSTM's next h and c: c' = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c')."""
    o, f, i, g = gates.chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def label_of(classes: int, width: int) -> Label:
    """A bias for each class, 0 at first."""
    made = Label(classes, width)
    for table in made.parameters():
        nn.init.zeros_(table)
    return made


def told(of: Label, like: Tensor, label: Tensor | None, drop: Any) -> Tensor:
    """What the label adds to gates, (batch, 4 width, 1)."""
    return of(like.new_zeros(len(like), 4 * like.shape[1]), label, drop)[..., None]
