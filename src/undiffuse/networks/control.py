"""ControlNet: a trained copy of a network's first part that is shown a picture and steers it (arXiv:2302.05543)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.broadcast import column, factor
from undiffuse.core.condition_dropout import Drop, drop_mask
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.network import Network, reads_time
from undiffuse.networks.axes import begin, convolution
from undiffuse.networks.conditions import Specs, one_hot, resized, scaled
from undiffuse.networks.steering import Steerable, zeroed

WIDTHS = (16, 32, 96, 256)  # channels of the encoder, each after the first at half the resolution


class ControlEncoder(nn.Module):
    """A picture (batch, channels, sizes x 2^(len(widths) - 1)) -> a hint (batch, out, sizes), at first all zero."""

    def __init__(self, channels: int, out: int, widths: tuple[int, ...], dimensions: int) -> None:
        super().__init__()
        self.conv_in = begin(convolution(dimensions, channels, widths[0], 3, padding=1))
        self.blocks = nn.ModuleList()
        for now, then in pairwise(widths):
            self.blocks.append(begin(convolution(dimensions, now, now, 3, padding=1)))
            self.blocks.append(begin(convolution(dimensions, now, then, 3, padding=1, stride=2)))
        self.conv_out = zeroed(convolution(dimensions, widths[-1], out, 3, padding=1))

    def forward(self, picture: Tensor) -> Tensor:
        h = F.silu(self.conv_in(picture))
        for block in self.blocks:
            h = F.silu(block(h))
        return self.conv_out(h)


class ControlBranch(nn.Module):
    """What a copy of a network's first part, shown pictures, adds to that part:  zero(copy(x + encoder(picture))).

    network: the frozen one, of which only the first part is copied. conditions: the pictures and maps by name; levels
    are shown as 0 ... 1, maps as a channel a class. widths: of `ControlEncoder`; each after the first makes what is
    shown twice as large as the hint, of which it is brought to a multiple.
    Raises Refused for conditions that are no pictures.
    """

    forms: ClassVar[tuple[str, ...]] = ("image", "map")

    def __init__(self, network: Steerable, conditions: Specs, widths: tuple[int, ...] = WIDTHS[:1]) -> None:
        super().__init__()
        for name, (form, _) in conditions.items():
            if form not in self.forms:
                raise Refused(f"a control is an image or a map, and {name!r} is {form}")
        self.conditions, self.patch, self.widths = dict(conditions), network.patch, tuple(widths)
        self.copy: Any = network.first_part()
        channels = sum(shape[0] for _, shape in conditions.values())
        self.encoder = ControlEncoder(channels, network.width, self.widths, network.dimensions)
        self.zeros = nn.ModuleList(network.zero_layers())

    def forward(
        self,
        x: Tensor,
        c_time: Tensor,
        pictures: Mapping[str, Tensor],
        label: Tensor | None = None,
        drop: Drop = None,
        **cond: Any,
    ) -> list[Tensor]:
        """What is added to the network's own features, see `Steerable`. cond: of the network."""
        hint = self.encoder(self._shown(x, pictures, drop))
        features = self.copy.features(x, c_time, hint, label, drop, **cond)
        return [zero(feature) for zero, feature in zip(self.zeros, features, strict=True)]

    def there(self, n: int, pictures: Mapping[str, Tensor], drop: Drop) -> Tensor | None:
        """Which of n samples have any of the pictures, booleans (n,); None: all have."""
        found = [drop_mask(drop, name) for name in self.conditions if name in pictures]
        if any(mask is None for mask in found):
            return None
        return torch.stack([~mask for mask in found if mask is not None]).any(0) if found else torch.zeros(n).bool()

    def _shown(self, x: Tensor, pictures: Mapping[str, Tensor], drop: Drop) -> Tensor:
        """The pictures, one above the other, in the size that the encoder takes; zeros for those that are not there."""
        sides = [side // self.patch * 2 ** (len(self.widths) - 1) for side in x.shape[2:]]
        parts: list[Tensor] = []
        for name, (form, shape) in self.conditions.items():
            if name not in pictures:
                parts.append(x.new_zeros(len(x), shape[0], *sides))
                continue
            given = pictures[name]
            levels = form == "image"
            found = (scaled(given).to(x.dtype) + 1) / 2 if levels else one_hot(given, shape[0], sides, x.dtype)
            found = resized(found, sides) if levels else found
            null = drop_mask(drop, name)
            parts.append(found if null is None else found.masked_fill(column(null, x), 0.0))
        return torch.cat(parts, dim=1)


class Strength(NamedTuple):
    """How much a branch adds: weight where its network's c_time is above low and at most high, else nothing."""

    weight: float = 1.0
    low: float = -torch.inf
    high: float = torch.inf

    def at(self, c_time: Tensor) -> Tensor | None:
        """(batch,); None: 1 for all."""
        if self == Strength():
            return None
        return torch.where((c_time > self.low) & (c_time <= self.high), self.weight, 0.0)


class Frozen:
    """The predictor whose network branches steer, and which is trained no more: copies of what holds it share it."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    @property
    def network(self) -> Any:
        return self.predictor.network

    def __deepcopy__(self, memo: Any) -> Self:
        return self


class ControlledNetwork(Network):
    """A frozen network with what its branches add, each by its strength. Its weights are the branches' alone.

    A sample without any of a branch's pictures gets nothing of it: with no pictures this is the frozen network.
    Raises Refused for a condition of two branches.
    """

    def __init__(
        self, base: Frozen, branches: Sequence[ControlBranch], strengths: Sequence[Strength] | None = None
    ) -> None:
        super().__init__()
        names = [name for branch in branches for name in branch.conditions]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise Refused(f"two controls have a condition of the name {twice!r}: a value given by it would be for both")
        self.base, self.branches = base, nn.ModuleList(branches)
        self.strengths = tuple(strengths or [Strength()] * len(branches))
        self.reads_time = reads_time(base.network)

    def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Drop = None, **cond: Any) -> Tensor:
        own = {name for branch in self.branches for name in branch.conditions}  # type: ignore[union-attr]
        told = {name: value for name, value in cond.items() if name not in own}
        pictures = {name: value for name, value in cond.items() if name in own}
        network, added = self.base.network, list[Tensor]()
        for branch, strength in zip(self.branches, self.strengths, strict=True):
            share = _product(branch.there(len(x), pictures, drop), strength.at(c_time), x)  # type: ignore[operator]
            if share is not None and not bool(share.any()):
                continue
            found: list[Tensor] = branch(x, c_time, pictures, label, drop, **told)
            found = [part if share is None else part * factor(share, part) for part in found]
            added = [a + b for a, b in zip(added, found, strict=True)] if added else found
        dtype = next(network.parameters()).dtype
        x = x.to(dtype)
        if not added:
            return network(x, c_time, label=label, drop=drop, **told)
        return network.steered(x, c_time, added, label, drop, **told)


def _product(there: Tensor | None, strength: Tensor | None, x: Tensor) -> Tensor | None:
    """The share of each sample, (batch,) in x's dtype and where x is; None: 1 for all."""
    parts = [part.to(x.device, x.dtype) for part in (there, strength) if part is not None]
    return torch.stack(parts).prod(0) if parts else None


def usual_widths(conditions: Specs, shape: tuple[int, ...], patch: int) -> tuple[int, ...]:
    """As many of WIDTHS as the largest of the pictures is halved until it is no larger than the hint."""
    halvings = 0
    for _, size in conditions.values():
        for shown, side in zip(size[1:], shape[1:], strict=True):
            halvings = max(halvings, (shown * patch // side).bit_length() - 1)
    return WIDTHS[: 1 + halvings]
