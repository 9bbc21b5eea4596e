"""Attention, written once: queries, keys and values apart by head, what they say to one another, and one again."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.broadcast import column
from undiffuse.networks.precision import has_amx

FEW = 512  # keys, up to which the formula is worth the memory that its gradient takes
LEAST, SCORES = 2**12, 2**18  # of queries and keys: as many of an item as pay in a batch, and as stay in the cache
LARGE = 32.0  # a score that bfloat16 rounds by up to 6 %
AMX = has_amx()


def attention(q: Tensor, k: Tensor, v: Tensor, there: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt(d)) v, (batch, heads, length, d) each; there: booleans, which keys there are.

    On a CPU the way back through the fused kernel is two to four times slower in bfloat16 than through the formula.
    So is the way there on one without AMX, as long as the formula's scores stay in the cache. Each item of the batch is
    looked at for itself: what is computed of it, to the last bit, does not depend on the others.
    """
    half = q.dtype is torch.bfloat16 and q.device.type == "cpu"
    if half and there is None and not q.requires_grad and _pays(q, k):
        small = _small(q, k)
        if bool(small.all()):
            return _in_parts(q, k, v)
        if bool(small.any()):
            return torch.where(small, _in_parts(q, k, v), F.scaled_dot_product_attention(q, k, v))
    if not (half and q.requires_grad) or k.shape[-2] > FEW:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=there)
    near = _scaled(q) @ k.transpose(-1, -2)
    return (near if there is None else near.masked_fill(~there, -torch.inf)).softmax(-1) @ v


def _scaled(q: Tensor) -> Tensor:
    return q / math.sqrt(q.shape[-1])


def _pays(q: Tensor, k: Tensor) -> bool:
    """Whether there is something to gain."""
    return not AMX and not torch.compiler.is_compiling() and math.prod(q.shape[1:-1]) * k.shape[-2] >= LEAST


def _small(q: Tensor, k: Tensor) -> Tensor:
    """Which items have queries and keys whose lengths leave no score above LARGE, (batch, 1, 1, 1)."""
    longest = [x.norm(dim=-1).flatten(1).amax(1) for x in (q, k)]
    return column(longest[0] * longest[1] <= LARGE * math.sqrt(q.shape[-1]), q)


def _in_parts(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """exp(q k / sqrt(d)) v over its sum, which a column of ones behind v takes, for as many heads at a time, or
    queries of a head, as have `SCORES` scores. Scores are small: exp stays finite and their rounding does no harm.
    """
    length, keys = q.shape[-2], k.shape[-2]
    heads, rows = max(SCORES // (length * keys), 1), max(SCORES // keys, 1)
    each = (x.flatten(0, -3).split(heads) for x in (_scaled(q), k, F.pad(v, (0, 1), value=1.0)))
    found = []
    for queries, names, values in zip(*each, strict=True):
        sums = [torch.bmm(torch.bmm(some, names.mT).exp_(), values) for some in queries.split(rows, 1)]
        found.append(torch.cat([each[..., :-1] / each[..., -1:] for each in sums], 1))
    return torch.cat(found).unflatten(0, q.shape[:-2])


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
    """Queries (batch, length, width) ask keys and values side by side, (batch, tokens, 2 width); there: as below."""
    k, v = kv.chunk(2, -1)
    return separate_attention(q, k, v, heads, there)


def separate_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, there: Tensor | None = None) -> Tensor:
    """Queries (batch, length, width) ask keys and values, (batch, tokens, width) each; there: (batch, tokens) booleans,
    None where all are.
    """
    q, k, v = (by_head(each.to(q.dtype), 1, heads)[0] for each in (q, k, v))
    return merged(attention(q, k, v, None if there is None else there[:, None, None]))
