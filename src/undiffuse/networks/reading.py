"""Captions, boxes and vectors as tokens: bytes by a small transformer, others' embeddings, corners by waves."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.networks.attention import self_attention

SYMBOLS = 258  # 0 where a caption has ended, 1 to 256 a byte, 257 its start
LAYERS = 2
WAVES = 6  # of a corner's place, each twice as fast as the one before


class TextTokens(NamedTuple):
    """tokens (batch, length, width), and where there are any, booleans (batch, length); None: at all places."""

    tokens: Tensor
    there: Any


class Bytes(nn.Module):
    """Numbers (batch, at most length) below SYMBOLS -> Text: embedded with their places, then layers of attention."""

    def __init__(self, length: int, width: int, layers: int = LAYERS) -> None:
        super().__init__()
        self.enter = nn.Embedding(SYMBOLS, width, padding_idx=0)
        self.places = nn.Parameter(torch.randn(length, width).mul_(0.02))
        self.layers = nn.ModuleList([Layer(width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, text: Tensor) -> TextTokens:
        there = text != 0
        x = self.enter(text.long()) + self.places[: text.shape[1]]
        for layer in self.layers:
            x = layer(x, there)
        return TextTokens(self.norm(x), there)


class EncodedCaption(nn.Module):
    """Embeddings (batch, length, inside) of another encoder -> Text; one that is all zero is none."""

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.enter, self.norm = nn.Linear(inside, width), nn.LayerNorm(width)

    def forward(self, text: Tensor) -> TextTokens:
        return TextTokens(self.norm(self.enter(text.to(self.enter.weight.dtype))), (text != 0).any(-1))


class BoxTokens(nn.Module):
    """Boxes (batch, most, 5), each its class + 1, or 0 for none, and the corners x0, y0, x1, y1 in [0, 1] -> tokens.

    A token is the sum of a learned vector of the class and a linear layer of sines and cosines of the corners.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Embedding(classes + 1, width, padding_idx=0)
        self.corners, self.norm = nn.Linear(4 * 2 * WAVES, width), nn.LayerNorm(width)

    def forward(self, boxes: Tensor) -> TextTokens:
        number = boxes[..., 0].round().long()
        speeds = math.pi * 2 ** torch.arange(WAVES, dtype=torch.float32, device=boxes.device)
        phase = (boxes[..., 1:, None].float() * speeds).flatten(2)  # (batch, most, 4 WAVES)
        waves = torch.cat([phase.sin(), phase.cos()], dim=2).to(self.corners.weight.dtype)
        return TextTokens(self.norm(self.enter(number) + self.corners(waves)), number > 0)


class EmbeddingTokens(nn.Module):
    """A vector (batch, inside) -> so many tokens, each by a linear layer of its own, and a norm."""

    def __init__(self, inside: int, count: int, width: int) -> None:
        super().__init__()
        self.count = count
        self.enter, self.norm = nn.Linear(inside, count * width), nn.LayerNorm(width)

    def forward(self, vector: Tensor) -> TextTokens:
        tokens = self.enter(vector.to(self.enter.weight.dtype)).unflatten(1, (self.count, -1))
        return TextTokens(self.norm(tokens), torch.ones(tokens.shape[:2], dtype=torch.bool, device=vector.device))


class Layer(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)), x (batch, length, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = math.gcd(width, 4)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        x = x + self.out(self_attention(self.qkv(self.norm1(x)), self.heads, there[:, None, None]))
        return x + self.narrow(F.gelu(self.wide(self.norm2(x))))
