"""Attention, written once: queries, keys and values apart by head, what they say to one another, and one again."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

FEW = 512  # keys, up to which the formula is worth its memory


def attention(q: Tensor, k: Tensor, v: Tensor, there: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt(d)) v, (batch, heads, length, d) each; there: booleans, which keys there are.

    On a CPU the way back through the fused kernel is two to four times slower in bfloat16 than through the formula.
    """
    half = q.dtype is torch.bfloat16 and q.device.type == "cpu" and q.requires_grad
    if not half or k.shape[-2] > FEW:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=there)
    near = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)
    return (near if there is None else near.masked_fill(~there, -torch.inf)).softmax(-1) @ v


def by_head(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """x (batch, length, parts * width) -> so many parts, each (batch, heads, length, width / heads)."""
    return x.unflatten(-1, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind()


def merged(x: Tensor) -> Tensor:
    """x (batch, heads, length, d) -> (batch, length, heads * d)."""
    return x.transpose(1, 2).flatten(2)


def self_attention(qkv: Tensor, heads: int, there: Tensor | None = None) -> Tensor:
    """Queries, keys and values side by side, (batch, length, 3 width) -> (batch, length, width)."""
    return merged(attention(*by_head(qkv, 3, heads), there=there))


def cross_attention(q: Tensor, kv: Tensor, heads: int, there: Tensor | None) -> Tensor:
    """Queries (batch, length, width) ask keys and values (batch, tokens, 2 width); there: (batch, tokens) booleans,
    None where all are.
    """
    (q,), (k, v) = by_head(q, 1, heads), by_head(kv.to(q.dtype), 2, heads)
    return merged(attention(q, k, v, None if there is None else there[:, None, None]))
