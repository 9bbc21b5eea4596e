"""The parts of a DiT: modulated norms, attention to the tokens and to what conditions them, and the perceptron."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.networks.attention import attention, by_head, cross_attention, merged
from undiffuse.networks.axes import begin
from undiffuse.networks.positions import turned


class Way(NamedTuple):
    """How conditions reach a block. adaptive: they move its norms; gated: and scale what its layers add; before: they
    are tokens before the others; asked: they are tokens that a layer of cross-attention asks.
    """

    adaptive: bool = False
    gated: bool = False
    before: bool = False
    asked: bool = False


CONDITIONINGS = {
    "adaln_zero": Way(adaptive=True, gated=True),
    "adaln": Way(adaptive=True),
    "cross_attention": Way(asked=True),
    "in_context": Way(before=True),
}


class Style(NamedTuple):
    """What all blocks of a network have in common. inside: the perceptron's width; text: of the tokens that blocks ask
    by cross-attention, 0 for none.
    """

    width: int
    heads: int
    inside: int
    way: Way
    norm: str
    activation: str
    qk_norm: bool
    eps: float
    text: int


class Context(NamedTuple):
    """What blocks see besides their tokens. c: (batch, width), turns: angles, there: which tokens there are,
    (batch, 1, 1, tokens); text: (batch, length, width) with text_there (batch, length). None: nothing of the kind.
    """

    c: Tensor | None = None
    turns: Tensor | None = None
    there: Tensor | None = None
    text: Tensor | None = None
    text_there: Tensor | None = None


def layer_norm(x: Tensor, eps: float) -> Tensor:
    """(x - mean) / std over the last axis, with no weights of its own."""
    return F.layer_norm(x, x.shape[-1:], eps=eps)


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean of x^2) over the last axis, with no weights of its own."""
    return F.rms_norm(x, x.shape[-1:], eps=eps)


NORMS: dict[str, Callable[[Tensor, float], Tensor]] = {"layer": layer_norm, "rms": rms_norm}


class Modulation(nn.Module):
    """So many vectors of this width, 0 at the start: linear in what conditions the block, or learned by themselves."""

    def __init__(self, width: int, count: int, adaptive: bool) -> None:
        super().__init__()
        self.count = count
        self.linear = begin(nn.Linear(width, count * width), scale=0.0) if adaptive else None
        self.learned = None if adaptive else nn.Parameter(torch.zeros(count * width))

    def forward(self, c: Tensor | None) -> tuple[Tensor, ...]:
        """c (batch, width) -> (batch, 1, width) each; without it (width,) each."""
        found = self.learned if self.linear is None or c is None else self.linear(c)[:, None]
        return found.chunk(self.count, dim=-1)  # type: ignore[union-attr] - one of the two is there


class SelfAttention(nn.Module):
    """Every token asks all tokens; with qk_norm queries and keys are normed first, each head by itself."""

    def __init__(self, width: int, heads: int, qk_norm: bool, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = begin(nn.Linear(width, 3 * width)), begin(nn.Linear(width, width))
        self.q_norm, self.k_norm = (HeadNorm(width // heads, eps) if qk_norm else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor, turns: Tensor | None, there: Tensor | None) -> Tensor:
        q, k, v = by_head(self.qkv(x), 3, self.heads)
        q, k = self.q_norm(q), self.k_norm(k)
        if turns is not None:
            q, k = turned(q, turns), turned(k, turns)
        return self.out(merged(attention(q, k, v, there)))


class HeadNorm(nn.Module):
    """w x / sqrt(mean of x^2) over the last axis, in the dtype of x, w learned."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.eps)


class CrossAttention(nn.Module):
    """Every token asks the tokens of the conditions; it starts as 0."""

    def __init__(self, width: int, heads: int, text: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv = begin(nn.Linear(width, width)), begin(nn.Linear(text, 2 * width))
        self.out = begin(nn.Linear(width, width), scale=0.0)

    def forward(self, x: Tensor, text: Tensor, there: Tensor) -> Tensor:
        return self.out(cross_attention(self.q(x), self.kv(text), self.heads, there))


class Perceptron(nn.Module):
    """narrow(gelu(wide(x))); gated: narrow(silu(a) b) with a, b = wide(x), two thirds as wide inside.

    Sources: arXiv:1606.08415 (GELU, by its tanh), arXiv:2002.05202 (SwiGLU).
    """

    def __init__(self, width: int, inside: int, gated: bool) -> None:
        super().__init__()
        self.gated = gated
        inside = max(round(2 * inside / 3), 1) if gated else inside
        self.wide = begin(nn.Linear(width, 2 * inside if gated else inside))
        self.narrow = begin(nn.Linear(inside, width))

    def forward(self, x: Tensor) -> Tensor:
        h = self.wide(x)
        if not self.gated:
            return self.narrow(F.gelu(h, approximate="tanh"))
        a, b = h.chunk(2, dim=-1)
        return self.narrow(F.silu(a) * b)


class DiTBlock(nn.Module):
    """x + gate attention(norm(x)), the same of cross-attention without a gate, and x + gate perceptron(norm(x)).

    Each norm(x) is moved: norm(x) (1 + scale) + shift. With gates, which are 0 at the start, the block begins as the
    identity. long_skip: x is joined with an earlier block's output first, by a linear layer that begins with x alone
    (arXiv:2209.12152).
    """

    def __init__(self, style: Style, long_skip: bool) -> None:
        super().__init__()
        width, way = style.width, style.way
        self.norm, self.eps = NORMS[style.norm], style.eps
        self.modulation = Modulation(width, 6 if way.gated else 4, way.adaptive)
        self.attention = SelfAttention(width, style.heads, style.qk_norm, style.eps)
        self.cross = CrossAttention(width, style.heads, style.text) if style.text else None
        self.cross_modulation = Modulation(width, 2, adaptive=False) if style.text else None
        self.mlp = Perceptron(width, style.inside, style.activation == "swiglu")
        self.skip = nn.Linear(2 * width, width) if long_skip else None
        if self.skip is not None:
            with torch.no_grad():
                nn.init.zeros_(self.skip.bias)
                nn.init.zeros_(self.skip.weight)
                nn.init.eye_(self.skip.weight[:, :width])

    def forward(self, x: Tensor, skip: Tensor | None, context: Context) -> Tensor:
        if self.skip is not None and skip is not None:
            x = self.skip(torch.cat([x, skip], dim=-1))
        parts = self.modulation(context.c)
        (shift1, scale1, *gate1), (shift2, scale2, *gate2) = parts[: len(parts) // 2], parts[len(parts) // 2 :]
        x = added(x, self.attention(self.moved(x, shift1, scale1), context.turns, context.there), *gate1)
        if self.cross is not None and self.cross_modulation is not None and context.text is not None:
            h = self.moved(x, *self.cross_modulation(None))
            x = x + self.cross(h, context.text, context.text_there)
        return added(x, self.mlp(self.moved(x, shift2, scale2)), *gate2)

    def moved(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return torch.addcmul(shift, self.norm(x, self.eps), 1 + scale)


class FinalLayer(nn.Module):
    """linear(norm(x) (1 + scale) + shift), 0 at the start: `outputs` numbers a token."""

    def __init__(self, style: Style, outputs: int) -> None:
        super().__init__()
        self.norm, self.eps = NORMS[style.norm], style.eps
        self.modulation = Modulation(style.width, 2, style.way.adaptive)
        self.linear = begin(nn.Linear(style.width, outputs), scale=0.0)

    def forward(self, x: Tensor, c: Tensor | None) -> Tensor:
        shift, scale = self.modulation(c)
        return self.linear(torch.addcmul(shift, self.norm(x, self.eps), 1 + scale))


def added(x: Tensor, h: Tensor, gate: Tensor | None = None) -> Tensor:
    """x + gate h; without a gate x + h."""
    return x + h if gate is None else torch.addcmul(x, gate, h)
