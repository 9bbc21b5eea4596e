"""Affine couplings on images: half of the values shift and scale the other half, by checkerboard and by channel."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.families import ANY
from undiffuse.core.normalizing_flow import Bijection
from undiffuse.networks.axes import refuse_shape
from undiffuse.networks.embeddings import Label

OWNER = "a coupling_flow"
MOST = 2.0  # the largest |log scale| of one coupling


class CouplingFlow(Bijection):
    """z = x where the mask is 1, else x e^s + t, with s and t of the masked x by convolutions; `depth` of them in each
    of three parts.

    The masks of the first and the last part are a checkerboard, those of the middle one half of the channels of patches
    of 2 x 2; each coupling turns its mask around. s = 2 tanh(h / 2), 0 at first, as t. width: of the convolutions. A
    class is a bias of their first layer. shape, classes: given by the data. Raises Refused for sizes below 1, for odd
    sides, and for items of another shape.
    Source: arXiv:1605.08803, sec. 3.
    """

    families: ClassVar[frozenset[str]] = ANY

    def __init__(self, shape: tuple[int, ...] = (1, 8, 8), width: int = 32, depth: int = 4, classes: int = 0) -> None:
        super().__init__()
        if len(shape) != 3 or min(width, depth, *shape) < 1 or any(side % 2 for side in shape[1:]):
            raise Refused(
                f"{OWNER} takes images of even sides, with width and depth of at least 1, not items of shape "
                f"{tuple(shape)} with {width} and {depth}"
            )
        self.shape = tuple(shape)
        channels, height, columns = shape
        patches = (4 * channels, height // 2, columns // 2)
        fine = [AffineCoupling(self.shape, width, classes, "checkerboard", i % 2) for i in range(2 * depth)]
        coarse = [AffineCoupling(patches, width, classes, "channels", i % 2) for i in range(depth)]
        self.first, self.middle, self.last = (nn.ModuleList(part) for part in (fine[:depth], coarse, fine[depth:]))

    def forward(self, x: Tensor, label: Tensor | None = None, drop: Drop = None) -> tuple[Tensor, Tensor]:
        refuse_shape(x, self.shape[0], 2, OWNER)
        total = x.new_zeros(len(x))
        for part in (self.first, self.middle, self.last):
            x = patched(x) if part is self.middle else x
            for coupling in part:
                x, volume = coupling(x, label, drop)
                total = total + volume
            x = unpatched(x) if part is self.middle else x
        return x, total

    def inverse(self, z: Tensor, label: Tensor | None = None, drop: Drop = None) -> Tensor:
        for part in (self.last, self.middle, self.first):
            z = patched(z) if part is self.middle else z
            for coupling in reversed(list(part)):
                z = coupling.inverse(z, label, drop)  # pyright: ignore[reportCallIssue]
            z = unpatched(z) if part is self.middle else z
        return z


class AffineCoupling(nn.Module):
    """One coupling of items of this shape. turned: which half stays."""

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        classes: int,
        mask: Literal["checkerboard", "channels"],
        turned: int,
    ) -> None:
        super().__init__()
        channels, height, columns = shape
        if mask == "checkerboard":  # on the CPU: a mask without memory would import PyTorch's compiler
            rows, places = torch.arange(height, device="cpu"), torch.arange(columns, device="cpu")
            stays = (rows[:, None] + places) % 2
            stays = stays.expand(1, channels, height, columns)
        else:
            stays = (torch.arange(channels, device="cpu") >= channels // 2).long().reshape(1, channels, 1, 1)
        self.register_buffer("stays", (stays if turned else 1 - stays).float(), persistent=False)
        last = nn.Conv2d(width, 2 * channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # pyright: ignore[reportArgumentType]
        enter, inner = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.inner = nn.Sequential(enter, nn.ReLU(), inner, nn.ReLU(), last)
        self.label = Label(classes, width)

    def forward(self, x: Tensor, label: Tensor | None = None, drop: Drop = None) -> tuple[Tensor, Tensor]:
        scale, shift = self._told(x, label, drop)
        return x * scale.exp() + shift, scale.flatten(1).sum(1)

    def inverse(self, z: Tensor, label: Tensor | None = None, drop: Drop = None) -> Tensor:
        """The x that becomes z."""
        scale, shift = self._told(z, label, drop)
        return (z - shift) * (-scale).exp()

    def _told(self, x: Tensor, label: Tensor | None, drop: Drop) -> tuple[Tensor, Tensor]:
        """log scale and shift, 0 of what stays, which x and z share."""
        stays: Tensor = self.stays  # pyright: ignore[reportAssignmentType]
        enter, *later = self.inner
        h = enter(x * stays)
        h = h + self.label(h.new_zeros(h.shape[:2]), label, drop)[..., None, None]
        for layer in later:
            h = layer(h)
        scale, shift = h.chunk(2, dim=1)
        return MOST * torch.tanh(scale / MOST) * (1 - stays), shift * (1 - stays)


def patched(x: Tensor) -> Tensor:
    """(batch, channels, height, width) -> (batch, 4 channels, height / 2, width / 2)."""
    return nn.functional.pixel_unshuffle(x, 2)


def unpatched(x: Tensor) -> Tensor:
    """The inverse of `patched`."""
    return nn.functional.pixel_shuffle(x, 2)
