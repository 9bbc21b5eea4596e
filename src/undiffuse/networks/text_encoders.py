"""CLIP's layers of attention, and its text encoder: a transformer over tokens, each of which sees those before it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.networks.attention import by_head, merged

ACTIVATIONS = {"quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "gelu": F.gelu}


class ClipText(nn.Module):
    """tokens (batch, length) -> embeddings (batch, length, width), normalised; each sees the tokens up to its own.

    activation: "quick_gelu", x sigmoid(1.702 x), or "gelu". Source: arXiv:2103.00020, sec. 2.4.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int = 77,
        width: int = 768,
        hidden: int = 3072,
        depth: int = 12,
        heads: int = 12,
        activation: str = "quick_gelu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        refuse_sizes_of_clip(
            "a text encoder", activation, width, heads, hidden, depth, tokens=length, symbols=vocabulary
        )
        self.length, self.width = length, width
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList([ClipLayer(width, hidden, heads, activation, eps) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class ClipLayer(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)). causal: whether a place sees those up to its own alone."""

    def __init__(self, width: int, hidden: int, heads: int, activation: str, eps: float, causal: bool = True) -> None:
        super().__init__()
        self.heads, self.activation, self.causal = heads, activation, causal
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        q, k, v = (by_head(part(h), 1, self.heads)[0] for part in (self.q, self.k, self.v))
        x = x + self.out(merged(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)))
        return x + self.narrow(ACTIVATIONS[self.activation](self.wide(self.norm2(x))))


def refuse_sizes_of_clip(
    owner: str, activation: str, width: int, heads: int, hidden: int, depth: int, **more: int
) -> None:
    """Raises Refused, in the owner's name, for an activation and for sizes that such a transformer cannot have."""
    if activation not in ACTIVATIONS:
        raise Refused(f"activation = {activation!r}: {owner} has {' or '.join(ACTIVATIONS)}")
    if min(width, heads, hidden, depth, *more.values()) < 1 or width % heads:
        others = "".join(f", {count} {name}" for name, count in more.items())
        raise Refused(f"{owner} of width {width} with {heads} heads, {depth} layers{others}")
