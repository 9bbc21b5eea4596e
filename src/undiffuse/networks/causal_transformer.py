"""A causal transformer over the values of an item: each is guessed of those before it, and of texts and vectors."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.autoregressive import AutoregressiveNetwork
from undiffuse.core.errors import Refused
from undiffuse.networks.conditions import Specs
from undiffuse.networks.embeddings import Label
from undiffuse.networks.positions import coordinates, rotations
from undiffuse.networks.prefix import FORMS, PrefixTokens, causal
from undiffuse.networks.transformer import TransformerBlock, check_sizes

MOST = 4096  # values of an item


class CausalTransformer(AutoregressiveNetwork):
    """x (batch, channels, *places) -> (batch, channels, outputs, *places), all 0 before training.

    The tokens are those of texts and vectors, see `PrefixTokens`, a start, to which a label's vector is added, and the
    values in their order, each a perceptron of its number beside a learned vector of its place; each sees those before
    it, and the token before a value gives its outputs. channels, shape, outputs, classes, conditions: given by the
    data. width, depth, heads, mlp, dropout: see `Transformer`.
    Source: arXiv:2204.06125, sec. 2.2 (autoregressive prior). Raises Refused for more than 4,096 values, items of
    another shape, texts that are no embeddings, and a width that the heads do not divide evenly.
    """

    forms: ClassVar[tuple[str, ...]] = ("label", *FORMS)

    def __init__(
        self,
        channels: int = 1,
        shape: tuple[int, ...] = (1, 8),
        outputs: int = 2,
        classes: int = 0,
        conditions: Specs | None = None,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        mlp: float = 4.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes("causal_transformer", width, depth, heads, mlp, dropout, 0)
        self.channels, self.shape, self.outputs, self.turn = channels, tuple(shape), outputs, width // heads
        if (count := math.prod(shape)) > MOST:
            raise Refused(f"a causal_transformer reads up to {MOST:,} values, and an item has {count:,}: take pixelcnn")
        self.prefix = PrefixTokens(conditions or {}, width, "causal_transformer")
        self.label = Label(classes, width)
        self.start = nn.Parameter(torch.randn(width).mul_(0.02))
        self.places = nn.Parameter(torch.randn(count, width).mul_(0.02))
        self.enter = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        inside = round(mlp * width)
        self.blocks = nn.ModuleList([TransformerBlock(width, heads, inside, dropout, False, 0) for _ in range(depth)])
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, outputs)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, label: Tensor | None = None, drop: Any = None, **cond: Any) -> Tensor:
        self._check(x)
        channels, *places = self.shape
        values = x.movedim(1, -1).flatten(1)[:, :-1]
        first, there = self._first(x, label, drop, cond)
        h = torch.cat([first, self.enter(values[..., None]) + self.places[:-1]], dim=1)
        seen = causal(F.pad(there, (0, values.shape[1]), value=True))
        turns = rotations(coordinates([h.shape[1]], [], h.device), self.turn)
        for block in self.blocks:
            h = block(h, turns, None, seen)
        found = self.leave(self.norm(h[:, first.shape[1] - 1 :]))
        return found.unflatten(1, (*places, channels)).movedim((-2, -1), (1, 2))

    def walk(self, x: Tensor, label: Tensor | None = None, drop: Any = None, **cond: Any) -> Iterator[Tensor]:
        """Keys and values of the tokens before are kept."""
        self._check(x)
        h, there = self._first(x, label, drop, cond)
        count, first = math.prod(self.shape), h.shape[1]
        turns = rotations(coordinates([first + count - 1], [], h.device), self.turn)
        pasts: list[list[Tensor]] = [[] for _ in self.blocks]
        for block, past in zip(self.blocks, pasts, strict=True):
            h = block(h, turns[:, :first], None, causal(there), past=past)
        for i in range(count):
            yield self.leave(self.norm(h[:, -1]))
            if i + 1 == count:
                return
            value = x.movedim(1, -1).flatten(1)[:, i : i + 1]
            h = self.enter(value[..., None]) + self.places[i]
            there = torch.cat([there, torch.ones_like(value, dtype=torch.bool)], dim=1)
            for block, past in zip(self.blocks, pasts, strict=True):
                h = block(h, turns[:, first + i : first + i + 1], None, there[:, None, None], past=past)

    def _first(self, x: Tensor, label: Tensor | None, drop: Any, cond: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The tokens before the values, (batch, tokens, width), and which of them are there."""
        start = self.label(self.start.expand(len(x), -1), label, drop)
        before, there = self.prefix(start, cond, drop)
        return torch.cat([before, start[:, None]], dim=1), F.pad(there, (0, 1), value=True)

    def _check(self, x: Tensor) -> None:
        if tuple(x.shape[1:]) != self.shape:
            raise Refused(f"this causal_transformer takes items of shape {self.shape}, not {tuple(x.shape[1:])}")
