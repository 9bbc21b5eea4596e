"""A transformer that looks both ways, for tokens: rotary places, and norms conditioned on the time and the class."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.families import TOKENS
from undiffuse.core.network import Network
from undiffuse.networks.attention import attention, by_head, merged
from undiffuse.networks.conditions import ConditionEmbedding, Specs
from undiffuse.networks.embeddings import Label, positional
from undiffuse.networks.positions import behind, coordinates, rotations, turned
from undiffuse.networks.reading import TextTokens


class Transformer(Network):
    """Tokens x (batch, length), c_time (batch,) -> logits (batch, length, vocabulary), all 0 before training.

    vocabulary: symbols, a mask among them. outputs: numbers a token in place of logits; 0: none. mlp: how many times
    wider the perceptrons are. tied: the embedding is the readout, too. time = "adaln": scale and shift of every norm
    are conditioned on the time; "none": the network does not see it, so that a guess holds until a token changes
    (`reads_time` says which). near: so many neighbours, an odd number, are added to each place before attention, which
    has to learn where they are, and before each perceptron; 0: none.
    classes: number of classes, 0 for none; the norms are conditioned on the class, on vectors and on texts; the
    tokens of a text stand before the sequence, those that are not there hidden. mask: booleans (batch, length), the
    places that are no padding; without it padding is a symbol like any other.
    Raises Refused for values, and for a width that the heads do not divide evenly.
    Source: arXiv:2212.09748, sec. 3.2 (adaLN), arXiv:2104.09864 (rotary places), arXiv:2406.07524, app. E.1.
    """

    half_pays: ClassVar[bool] = True  # bfloat16 halves a training step where the device multiplies it
    families: ClassVar[frozenset[str]] = TOKENS
    forms: ClassVar[tuple[str, ...]] = ("label", "vector", "text", "embedding")
    masks: ClassVar[bool] = True

    def __init__(
        self,
        vocabulary: int = 0,
        shape: tuple[int, ...] = (),
        classes: int = 0,
        conditions: Specs | None = None,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        mlp: float = 4.0,
        dropout: float = 0.0,
        time: Literal["adaln", "none"] = "adaln",
        tied: bool = False,
        outputs: int = 0,
        near: int = 0,
    ) -> None:
        super().__init__()
        if vocabulary < 2 or len(shape) > 1:
            raise Refused(
                "transformer is for tokens (count, length): it needs process.name = 'categorical' and data with a "
                "vocabulary"
            )
        if tied and outputs:
            raise Refused(f"a tied readout gives one number a symbol, and {outputs} are asked for: tied = false")
        check_sizes("transformer", width, depth, heads, mlp, dropout, near)
        self.reads_time, self.turn = time == "adaln", width // heads
        conditioned = self.reads_time or bool(classes) or bool(conditions)
        self.embed = nn.Embedding(vocabulary, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) if conditioned else None
        self.label = Label(classes, width)
        self.conditioning = ConditionEmbedding(conditions or {}, width, "transformer", self.forms, text_width=width)
        inside = round(mlp * width)
        self.blocks = nn.ModuleList(
            [TransformerBlock(width, heads, inside, dropout, conditioned, near) for _ in range(depth)]
        )
        self.norm = AdaptiveNorm(width, conditioned)
        self.readout = None if tied else nn.Parameter(torch.zeros(outputs or vocabulary, width))
        self.bias = nn.Parameter(torch.zeros(outputs or vocabulary))
        if tied:
            nn.init.zeros_(self.norm.scale)  # the logits begin at 0 either way

    def forward(
        self,
        x: Tensor,
        c_time: Tensor,
        label: Tensor | None = None,
        drop: Drop = None,
        mask: Tensor | None = None,
        **cond: Any,
    ) -> Tensor:
        h = self.embed(x)  # (batch, length, width)
        c, text = self._heard(len(x), c_time, label, drop, cond)
        there, real = None if mask is None else mask[:, None, None], mask
        if text is not None:
            h = torch.cat([text.tokens.to(h.dtype), h], dim=1)
            places = torch.ones_like(x, dtype=torch.bool) if mask is None else mask
            there = torch.cat([text.there, places], dim=1)[:, None, None]  # for every head and query
            real = None if mask is None else torch.cat([torch.ones_like(text.there), mask], dim=1)
        length = x.shape[1]
        turns = rotations(behind(coordinates([length], [], h.device), h.shape[1] - length), self.turn)
        for block in self.blocks:
            h = block(h, turns, c, there, real)
        h = self.norm(h[:, -length:], c)
        return F.linear(h, self.embed.weight if self.readout is None else self.readout, self.bias)

    def _heard(
        self, n: int, c_time: Tensor, label: Tensor | None, drop: Drop, cond: Mapping[str, Any]
    ) -> tuple[Tensor | None, TextTokens | None]:
        """What the norms are conditioned on, (batch, 1, width), None for nothing; and the tokens of all texts."""
        width = self.embed.weight.shape[1]
        waves = positional(c_time if self.reads_time else torch.zeros_like(c_time), width).to(self.embed.weight.dtype)
        c = self.label(waves if self.time is None else self.time(waves), label, drop)
        added, text = self.conditioning.read(n, cond, drop)
        c = c if added is None else c + added
        return None if self.time is None else F.silu(c)[:, None], text


def check_sizes(name: str, width: int, depth: int, heads: int, mlp: float, dropout: float, near: int) -> None:
    """Raises Refused, in the name of the network, for sizes that make no blocks."""
    if near and (near < 0 or near % 2 == 0):
        raise Refused(f"{name} needs an odd number of neighbours, itself among them, or 0, not near = {near}")
    if min(width, depth, heads) < 1 or width % (2 * heads) or mlp * width < 1 or not 0 <= dropout < 1:
        raise Refused(
            f"{name} needs a width that 2 x heads divides, depth >= 1, mlp > 0 and dropout in [0, 1), not "
            f"width = {width}, heads = {heads}, depth = {depth}, mlp = {mlp:g}, dropout = {dropout:g}"
        )


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)), x (batch, length, width).

    With neighbours each of the two sees n + near(n), n its norm, and near(n) is added to x as well. past: keys and
    values of the places before x, which x sees, too; those of x are added to it.
    """

    def __init__(self, width: int, heads: int, inside: int, dropout: float, conditioned: bool, near: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = AdaptiveNorm(width, conditioned), AdaptiveNorm(width, conditioned)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, inside), nn.Linear(inside, width)
        self.dropout = nn.Dropout(dropout)
        self.near = nn.ModuleList([Near(width, near) for _ in range(2 if near else 0)])
        for last in (self.out, self.narrow):
            nn.init.zeros_(last.weight)  # the tokens themselves are all that the first sum holds
            nn.init.zeros_(last.bias)

    def forward(
        self,
        x: Tensor,
        turns: Tensor,
        c: Tensor | None,
        there: Tensor | None,
        real: Tensor | None = None,
        past: list[Tensor] | None = None,
    ) -> Tensor:
        x, h = self.mixed(x, self.norm1(x, c), 0, real)
        x = x + self.dropout(self.attend(h, turns, there, past))
        x, h = self.mixed(x, self.norm2(x, c), 1, real)
        return x + self.dropout(self.narrow(F.gelu(self.wide(h))))

    def mixed(self, x: Tensor, h: Tensor, which: int, real: Tensor | None) -> tuple[Tensor, Tensor]:
        """x and h with what the neighbours in h say added to both; real: which places are no padding, None for all."""
        if not self.near:
            return x, h
        said = self.near[which](h if real is None else h * real[..., None])
        return x + said, h + said

    def attend(self, x: Tensor, turns: Tensor, there: Tensor | None, past: list[Tensor] | None = None) -> Tensor:
        q, k, v = by_head(self.qkv(x), 3, self.heads)
        k = turned(k, turns)
        if past is not None:
            k, v = (torch.cat(both, dim=2) for both in zip(past, (k, v), strict=True)) if past else (k, v)
            past[:] = k, v
        return self.out(merged(attention(turned(q, turns), k, v, there)))


class Near(nn.Module):
    """What each channel of x (batch, length, width) makes of its `size` nearest places, zeros beyond the ends."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, width).uniform_(-1, 1).div_(math.sqrt(size)))

    def forward(self, x: Tensor) -> Tensor:
        side, length = len(self.weight) // 2, x.shape[1]
        rows = F.pad(x, (0, 0, side, side))
        moved = [rows[:, i : i + length] * weight for i, weight in enumerate(self.weight.to(x.dtype))]
        return sum(moved[1:], start=moved[0])


class AdaptiveNorm(nn.Module):
    """scale norm(x) + shift over the last axis; scale and shift are learned, and moved by what is heard."""

    def __init__(self, width: int, conditioned: bool) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.modulation = nn.Linear(width, 2 * width) if conditioned else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, c: Tensor | None) -> Tensor:
        if self.modulation is None or c is None:
            return F.layer_norm(x, x.shape[-1:], self.scale, self.shift)
        scale, shift = self.modulation(c).chunk(2, dim=-1)  # (batch, 1, width)
        return torch.addcmul(self.shift + shift, F.layer_norm(x, x.shape[-1:]), self.scale + scale)
