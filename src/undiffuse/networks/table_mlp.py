"""A perceptron for rows of a table: numbers and categories are embedded, column by column, and gated blocks add up."""

import math
from itertools import accumulate
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.conditions import ConditionEmbedding, Specs
from undiffuse.networks.embeddings import Label, positional

SLOWEST, FASTEST = 0.5, 8.0  # half periods of the first waves in a deviation: columns that go together need fine ones


class TableMLP(Network):
    """Rows as named parts, c_time (batch,) -> an output for each part: `depth` residual blocks,
    h + W (a silu(b)),  [a, b] = V norm(h) + U silu(time).

    A part of values (batch, numbers) is followed by one of tokens (batch, 1) for each of `vocabularies`; what comes out
    is (batch, numbers), and logits (batch, 1, vocabulary) of each column. Without vocabularies x is a tensor (batch,
    channels), and so is what comes out: a network for points. channels: all columns, numbers and categories.
    embedding: numbers that a category is looked up as, and that a number becomes beside itself: relu(A [x, sin(f x),
    cos(f x)] + b) with `waves` frequencies f, A, b and f each column's own and learned (arXiv:2203.05556, sec. 3.3).
    dropout: of the blocks' inner features. classes: number of classes, 0 for none. conditions: vectors; given by
    the data, see `ConditionEmbedding`.
    Raises Refused for rows of another length, for sizes below 1, and for fewer than 0 waves.
    """

    families: ClassVar[frozenset[str]] = frozenset({"values", "mixed"})
    forms: ClassVar[tuple[str, ...]] = ("label", "vector")

    def __init__(
        self,
        channels: int = 1,
        vocabularies: tuple[int, ...] = (),
        classes: int = 0,
        width: int = 256,
        depth: int = 4,
        waves: int = 8,
        embedding: int = 16,
        dropout: float = 0.0,
        conditions: Specs | None = None,
    ) -> None:
        super().__init__()
        numbers = channels - len(vocabularies)
        if min(width, depth, embedding) < 1 or numbers < 0 or channels < 1 or waves < 0:
            raise Refused(
                f"table_mlp needs width, depth and embedding of at least 1, waves of 0 or more and as many columns as "
                f"vocabularies, not {width}, {depth}, {embedding}, {waves} and {channels} for {len(vocabularies)}"
            )
        self.channels, self.numbers, self.width, self.vocabularies = channels, numbers, width, tuple(vocabularies)
        firsts = list(accumulate(vocabularies, initial=0))[:-1]
        self.register_buffer("firsts", torch.tensor(firsts), persistent=False)
        self.table = nn.Embedding(sum(vocabularies), embedding) if vocabularies else None
        self.numeric = Numeric(numbers, waves, embedding)
        self.enter = nn.Linear(numbers + embedding * channels, width)
        self.time_width = half = max(2, width // 2)  # numbers that the time and the conditions are
        self.time = nn.Sequential(nn.Linear(half, half), nn.SiLU(), nn.Linear(half, half))
        self.label = Label(classes, half)
        self.conditioning = ConditionEmbedding(conditions or {}, half, "a table_mlp", self.forms)
        self.blocks = nn.ModuleList([GatedBlock(width, half, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, numbers + sum(vocabularies))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, x: Any, c_time: Tensor, label: Tensor | None = None, drop: Drop = None, **cond: Any
    ) -> Tensor | dict[str, Tensor]:
        parts: dict[str, Tensor] = x if self.vocabularies else {"": x}
        shapes = {name: tuple(part.shape[1:]) for name, part in parts.items()}
        if list(shapes.values()) != [(self.numbers,)] * bool(self.numbers) + [(1,)] * len(self.vocabularies):
            found = shapes if self.vocabularies else shapes[""]
            raise Refused(f"this table_mlp takes rows of {self.channels} columns, not items of {found}")
        each = list(parts.values())
        rows, tokens = len(each[0]), each[bool(self.numbers) :]
        dtype = self.enter.weight.dtype
        h: list[Tensor] = []
        if self.numbers:
            numbers = each[0].to(dtype)
            h = [numbers, self.numeric(numbers).flatten(1)]
        if self.table is not None:
            firsts: Any = self.firsts
            h.append(self.table(torch.cat(tokens, dim=1) + firsts).flatten(1))
        time = self.time(positional(c_time, self.time_width).to(dtype))
        time = self.label(time, label, drop)
        added, _ = self.conditioning.read(rows, cond, drop)
        time = F.silu(time if added is None else time + added.to(time.dtype))
        h = self.enter(torch.cat(h, dim=1))
        for block in self.blocks:
            h = block(h, time)
        out = self.leave(F.silu(self.norm(h)))
        if not self.vocabularies:
            return out
        widths = [self.numbers] * bool(self.numbers) + list(self.vocabularies)
        cut = list(torch.split(out, widths, dim=1))
        cut[bool(self.numbers) :] = [logits[:, None] for logits in cut[bool(self.numbers) :]]
        return dict(zip(parts, cut, strict=True))


class Numeric(nn.Module):
    """relu(A [x, sin(f x), cos(f x)] + b) of each number x of (batch, numbers): (batch, numbers, embedding)."""

    def __init__(self, numbers: int, waves: int, embedding: int) -> None:
        super().__init__()
        self.waves = nn.Parameter(torch.empty(numbers, waves))
        self.weight = nn.Parameter(torch.empty(numbers, 1 + 2 * waves, embedding))
        self.bias = nn.Parameter(torch.zeros(numbers, 1, embedding))
        with torch.no_grad():
            self.waves.copy_(frequencies(waves))
            self.weight.normal_(std=(1 + 2 * waves) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = x.T[:, :, None]  # (numbers, batch, 1), a product for each number
        phase = x * self.waves[:, None]
        features = torch.cat([x, phase.sin(), phase.cos()], dim=2)
        return F.relu(torch.baddbmm(self.bias, features, self.weight)).transpose(0, 1)


class GatedBlock(nn.Module):
    """h + W dropout(a silu(b)),  [a, b] = V norm(h) + U time, two thirds of the width inside (arXiv:2002.05202)."""

    def __init__(self, width: int, features: int, dropout: float) -> None:
        super().__init__()
        inside = max(1, 2 * width // 3)
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 2 * inside)
        self.conditioning = nn.Linear(features, 2 * inside)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(inside, width)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        a, b = (self.wide(self.norm(h)) + self.conditioning(time)).chunk(2, dim=1)
        return h + self.out(self.dropout(a * F.silu(b)))


def frequencies(count: int) -> Tensor:
    """From SLOWEST to FASTEST half periods in a unit, evenly spaced in their logarithm, (count,)."""
    steps = [SLOWEST * (FASTEST / SLOWEST) ** (i / max(1, count - 1)) for i in range(count)]
    return torch.tensor([math.pi * step for step in steps])
