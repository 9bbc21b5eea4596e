"""Latent diffusion's attention of a U-Net: transformer blocks over the places, which also read a text."""

from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.networks.attention import separate_attention
from undiffuse.networks.axes import begin
from undiffuse.networks.blocks import group_count, normalise
from undiffuse.networks.reading import TextTokens

EPS = 1e-6  # of the first norm; those of the blocks have PyTorch's


def head_count(channels: int, heads: int, head_width: int) -> int:
    """How many heads attention over so many channels has: `heads`, else one for head_width channels, else one.

    Raises Refused for numbers that do not divide the channels, and for both at once.
    """
    if heads and head_width:
        raise Refused(f"heads = {heads} and head_width = {head_width}: give one of the two")
    for name, number in (("heads", heads), ("head_width", head_width)):
        if number < 0 or (number and channels % number):
            raise Refused(f"{name} = {number} does not divide the {channels} channels of an attention layer")
    return heads or (channels // head_width if head_width else 1)


class SpatialTransformer(nn.Module):
    """x + after(blocks(before(norm(x)))) over the places of x, (batch, channels, ...); it starts as the identity.

    text_width: of the tokens of a text that every block reads; 0: there is none.
    Source: arXiv:2112.10752, app. E.2.1, and its released code.
    """

    def __init__(self, channels: int, count: int, heads: int, groups: int, text_width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(group_count(channels, groups), channels, eps=EPS)
        self.before = nn.Linear(channels, channels)
        self.blocks = nn.ModuleList([SpatialBlock(channels, heads, text_width) for _ in range(count)])
        self.after = begin(nn.Linear(channels, channels), scale=0.0)

    def forward(self, x: Tensor, text: TextTokens | None = None) -> Tensor:
        h = self.before(normalise(x, self.norm).flatten(2).mT)  # (batch, places, channels)
        for block in self.blocks:
            h = block(h, text)
        return x + self.after(h).mT.unflatten(2, x.shape[2:])


class SpatialBlock(nn.Module):
    """x + attention(norm(x)), then x + cross(norm(x), text), then x + narrow(value gelu(gate)) with value and gate of
    wide(norm(x)); x (batch, places, channels).

    Attention has no bias but in its output. Gated linear unit: arXiv:2002.05202.
    """

    def __init__(self, channels: int, heads: int, text_width: int) -> None:
        super().__init__()
        self.norm1, self.norm3 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = PlacesAttention(channels, heads, channels)
        self.norm2 = nn.LayerNorm(channels) if text_width else None
        self.cross = PlacesAttention(channels, heads, text_width) if text_width else None
        self.wide, self.narrow = nn.Linear(channels, 8 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor, text: TextTokens | None) -> Tensor:
        x = x + self.attention(h := self.norm1(x), h)
        if self.cross is not None and self.norm2 is not None and text is not None:
            x = x + self.cross(self.norm2(x), text.tokens.to(x.dtype), text.there)
        value, gate = self.wide(self.norm3(x)).chunk(2, dim=-1)
        return x + self.narrow(value * F.gelu(gate))


class PlacesAttention(nn.Module):
    """out(softmax(q k^T / sqrt(d)) v), queries from x (batch, places, channels), keys and values from what it attends
    to, (batch, length, width). Each has a weight of its own, so that files of diffusers are mapped without a copy.
    """

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels, bias=False)
        self.k, self.v = (nn.Linear(width, channels, bias=False) for _ in range(2))
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, to: Tensor, there: Tensor | None = None) -> Tensor:
        return self.out(separate_attention(self.q(x), self.k(to), self.v(to), self.heads, there))
