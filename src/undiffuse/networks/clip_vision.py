"""CLIP's encoder of images: a transformer over patches behind one token, whose last vector stands for the image."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.patches import patches
from undiffuse.networks.text_encoders import ClipLayer, refuse_sizes_of_clip


class ClipVision(Network):
    """x (batch, channels, size, size) in [-1, 1] -> (batch, classes): a linear layer of the first token's vector.

    channels, size: of images; classes: how many numbers it gives; all three given by the data. patch: the side of a
    patch. hidden: the width inside of a layer. mean, std: of each channel of the images as numbers in [0, 1], by which
    they are moved and scaled. It reads clean images alone. Source: arXiv:2103.00020, sec. 2.4.
    Raises Refused for images of another size, and for sizes that do not fit.
    """

    predicts: ClassVar[str] = "label"
    reads_time = False
    half_pays: ClassVar[bool] = True

    def __init__(
        self,
        channels: int = 3,
        classes: int = 512,
        size: int = 224,
        patch: int = 4,
        width: int = 768,
        hidden: int = 3072,
        depth: int = 12,
        heads: int = 4,
        activation: str = "quick_gelu",
        eps: float = 1e-5,
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
    ) -> None:
        super().__init__()
        owner = "a CLIP encoder of images"
        refuse_sizes_of_clip(owner, activation, width, heads, hidden, depth, channels=channels, numbers=classes)
        if patch < 1 or size % patch:
            raise Refused(f"{owner} of {size} x {size} has patches that divide this, not {patch}")
        if any(each and len(each) != channels for each in (mean, std)) or not all(value > 0 for value in std):
            raise Refused(f"{owner} has a mean and a std above 0 of each of {channels} channels, not {mean} and {std}")
        self.shape, self.patch, self.mean, self.std = (channels, size, size), patch, mean, std
        self.first = nn.Parameter(torch.randn(width).mul_(width**-0.5))
        self.enter = nn.Linear(channels * patch**2, width, bias=False)
        self.places = nn.Parameter(torch.randn((size // patch) ** 2 + 1, width).mul_(0.02))
        self.before = nn.LayerNorm(width, eps=eps)
        self.layers = nn.ModuleList([ClipLayer(width, hidden, heads, activation, eps, False) for _ in range(depth)])
        self.after, self.leave = nn.LayerNorm(width, eps=eps), nn.Linear(width, classes, bias=False)

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise Refused(f"this encoder reads images of shape {self.shape}, not {tuple(x.shape[1:])}")
        h = self.enter(patches(self._scaled(x.to(self.enter.weight.dtype)), self.patch))
        h = self.before(torch.cat([self.first.expand(len(h), 1, -1), h], dim=1) + self.places)
        for layer in self.layers:
            h = layer(h)
        return self.leave(self.after(h[:, 0]))

    def _scaled(self, x: Tensor) -> Tensor:
        mean, std = (
            torch.tensor(each, dtype=x.dtype, device=x.device).view(-1, 1, 1) for each in (self.mean, self.std)
        )
        x = (x + 1) / 2
        x = x - mean if self.mean else x
        return x / std if self.std else x
