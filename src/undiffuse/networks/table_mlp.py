"""A perceptron for rows of a table: categories are looked up, numbers stand beside them, and blocks add to both."""

from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.hidden import Drop
from undiffuse.networks.conditions import Specs, Told
from undiffuse.networks.embeddings import Label, positional


class TableMLP(nn.Module):
    """Rows x (batch, channels), c_time (batch,) -> (batch, numbers + sum(vocabularies)): `depth` residual blocks,
    h + W silu(V norm(h) + time).

    The last len(vocabularies) columns of x hold token numbers, the `numbers` before them values; what comes out is one
    number for each of these and then the logits of one column behind the other's. Without vocabularies all columns are
    values, and it is a network for points.
    embedding: numbers that a category is looked up as. dropout: of the blocks' inner features. classes: number of
    classes, 0 for none. conditions: the vectors that it is told; given by the data, see `Told`.
    Raises Refused for rows of another length, and for sizes below 1.
    """

    def __init__(
        self,
        channels: int = 1,
        vocabularies: tuple[int, ...] = (),
        classes: int = 0,
        width: int = 256,
        depth: int = 4,
        embedding: int = 16,
        dropout: float = 0.0,
        conditions: Specs | None = None,
    ) -> None:
        super().__init__()
        numbers = channels - len(vocabularies)
        if min(width, depth, embedding) < 1 or numbers < 0 or channels < 1:
            raise Refused(
                f"table_mlp needs width, depth and embedding of at least 1 and as many columns as vocabularies, not "
                f"{width}, {depth}, {embedding} and {channels} for {len(vocabularies)}"
            )
        self.channels, self.numbers, self.width, self.vocabularies = channels, numbers, width, tuple(vocabularies)
        firsts = list(accumulate(vocabularies, initial=0))[:-1]
        self.register_buffer("firsts", torch.tensor(firsts), persistent=False)
        self.table = nn.Embedding(sum(vocabularies), embedding) if vocabularies else None
        self.enter = nn.Linear(numbers + embedding * len(vocabularies), width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.label = Label(classes, width)
        self.told = Told(conditions or {}, width, "a table_mlp", ("vector",))
        self.blocks = nn.ModuleList([Block(width, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, numbers + sum(vocabularies))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Drop = None, **cond: Any) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.channels:
            raise Refused(f"this table_mlp takes rows of {self.channels} columns, not items of {tuple(x.shape[1:])}")
        dtype = self.enter.weight.dtype
        h = x[:, : self.numbers].to(dtype)
        if self.table is not None:
            firsts: Any = self.firsts
            h = torch.cat([h, self.table(x[:, self.numbers :].round().long() + firsts).flatten(1)], dim=1)
        time = self.time(positional(c_time, self.width).to(dtype))
        time = self.label(time, label, drop)
        added, _ = self.told.read(len(x), cond, drop)
        time = time if added is None else time + added.to(time.dtype)
        h = self.enter(h)
        for block in self.blocks:
            h = block(h, time)
        return self.leave(F.silu(self.norm(h)))


class Block(nn.Module):
    """h + W dropout(silu(V norm(h) + U silu(time)))."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, width)
        self.told = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, width)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        return h + self.out(self.dropout(F.silu(self.wide(self.norm(h)) + self.told(F.silu(time)))))
