"""Convolutions that do not see a value itself nor those after it: the masks of PixelCNN, by colour."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused


class MaskedConv(nn.Conv2d):
    """A convolution along a row that sees the places before, and of its own place the colours before or up to its own.

    Features are divided among `channels` colours, and a feature of a colour is of values up to that colour. The last
    tap is the place itself. Mask A (`itself` false) hides a value's own colour and those after it, mask B (`itself`
    true) those after it alone. parts: of the output, each divided so. The mask is on the weight in every call.
    Source: arXiv:1601.06759, sec. 3.4.
    """

    def __init__(
        self, inside: int, out: int, channels: int, taps: int = 1, itself: bool = True, parts: int = 1
    ) -> None:
        super().__init__(inside, out, (1, taps))
        own, others = colours(out // parts, channels).repeat(parts), colours(inside, channels)
        seen = own[:, None] >= others if itself else own[:, None] > others
        mask = torch.ones(out, inside, 1, taps, device="cpu")
        mask[..., -1] = seen[..., None]
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        mask: Tensor = self.mask  # pyright: ignore[reportAssignmentType]
        return F.conv2d(input, self.weight * mask, self.bias)


def colours(width: int, channels: int) -> Tensor:
    """The colour of each of so many features, rising and equally often, (width,)."""
    return torch.arange(width, device="cpu") * channels // width


def leave(width: int, channels: int, outputs: int) -> nn.Sequential:
    """Features (batch, width, ...) -> the outputs of each channel, (batch, channels * outputs, ...), by mask B."""
    widths = [width, width, channels * outputs]
    return nn.Sequential(*(part for pair in pairwise(widths) for part in (nn.ReLU(), MaskedConv(*pair, channels))))


def refuse_sizes(owner: str, channels: int, dimensions: int, width: int, depth: int, kernel: int) -> None:
    """Raises Refused for sizes that a masked network of images cannot have."""
    if dimensions != 2:
        raise Refused(f"dimensions = {dimensions}: {owner} takes images (2); take fvbn for all else")
    for name, value, least in (("width", width, channels), ("depth", depth, 1)):
        if value < least:
            raise Refused(f"{name} = {value}: {owner} of {channels} channels needs at least {least}")
    if kernel < 3 or kernel % 2 == 0:
        raise Refused(f"kernel = {kernel}: {owner} needs an odd one of 3 or more, the place itself in its middle")
