"""The residual block and the attention of EDM2's U-Net, which keep numbers at unit magnitude (arXiv:2312.02696)."""

import math

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.networks.attention import attention, merged
from undiffuse.networks.axes import everywhere
from undiffuse.networks.magnitudes import UnitWeights, unit, unit_silu, unit_sum
from undiffuse.networks.reading import TextTokens
from undiffuse.networks.resampling import Change

SHARE = 0.3  # of a branch in the sum with what it is added to
LARGEST = 256.0  # numbers beyond it are cut
HEAD = 64  # channels of an attention head, as far as they divide


class UnitResidual(nn.Module):
    """sum(x, conv(silu(conv(silu(x)) (1 + gain time)))), gain a learned number that starts at 0.

    On the way down (`normalised`) x is brought to unit magnitude at every place first. `change` alters the resolution.
    x: (batch, channels, one size an axis); time: (batch, out).
    """

    def __init__(
        self, channels: int, out: int, normalised: bool, dropout: float, dimensions: int, change: Change | None = None
    ) -> None:
        super().__init__()
        self.normalised, self.change, self.time_width = normalised, change, out
        kernel = (3,) * dimensions
        self.shortcut = UnitWeights(channels, out, (1,) * dimensions) if channels != out else None
        self.conv1 = UnitWeights(out if normalised else channels, out, kernel)
        self.conv2 = UnitWeights(out, out, kernel)
        self.gain = nn.Parameter(torch.zeros((), dtype=torch.float32))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = x if self.change is None else self.change(x)
        if self.normalised:
            x = unit(self._same(x))
        h = self.conv1(unit_silu(x)) * everywhere(1 + self.gain * time, x).to(x.dtype)
        h = self.conv2(self.dropout(unit_silu(h)))
        return unit_sum(x if self.normalised else self._same(x), h, SHARE).clamp(-LARGEST, LARGEST)

    def _same(self, x: Tensor) -> Tensor:
        """x with as many channels as come out."""
        return x if self.shortcut is None else self.shortcut(x)


class UnitAttention(nn.Module):
    """sum(x, out(softmax(q k / sqrt(d)) v)), where q, k and v are brought to unit magnitude (cosine attention).

    text_width: of a text's tokens, to which the places attend after that; 0: there is no text.
    Raises Refused for a head_width that does not divide the channels; 0: the largest power of 2 up to 64 that does.
    """

    def __init__(self, channels: int, head_width: int, text_width: int = 0) -> None:
        super().__init__()
        if head_width < 0 or (head_width and channels % head_width):
            raise Refused(f"head_width = {head_width} does not divide the {channels} channels of an attention layer")
        self.heads = channels // (head_width or math.gcd(channels, HEAD))
        self.qkv, self.out = UnitWeights(channels, 3 * channels), UnitWeights(channels, channels)
        self.q = UnitWeights(channels, channels) if text_width else None
        self.kv = UnitWeights(text_width, 2 * channels) if text_width else None
        self.text_out = UnitWeights(channels, channels) if text_width else None

    def forward(self, x: Tensor, text: TextTokens | None = None) -> Tensor:
        places = x.flatten(2).mT  # (batch, places, channels)
        q, k, v = self._heads(self.qkv(places), 3)
        places = unit_sum(places, self.out(self._mixed(q, k, v)), SHARE)
        if self.q is not None and self.kv is not None and self.text_out is not None and text is not None:
            (q,) = self._heads(self.q(places), 1)
            k, v = self._heads(self.kv(unit(text.tokens.to(places.dtype), (2,))), 2)
            places = unit_sum(places, self.text_out(self._mixed(q, k, v, text.there[:, None, None])), SHARE)
        return places.mT.unflatten(2, x.shape[2:]).clamp(-LARGEST, LARGEST)

    def _heads(self, x: Tensor, count: int) -> Tensor:
        """(batch, places, count * channels) as `count` of (batch, heads, places, channels a head), unit each."""
        return unit(x.unflatten(2, (count, self.heads, -1)).permute(2, 0, 3, 1, 4), (4,))

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor, there: Tensor | None = None) -> Tensor:
        return merged(attention(q, k, v, there))
