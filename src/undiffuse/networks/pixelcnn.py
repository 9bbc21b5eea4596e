"""The gated PixelCNN: two stacks of masked convolutions, one for the rows above and one for the row itself."""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.autoregressive import AutoregressiveNetwork
from undiffuse.networks.axes import refuse_shape
from undiffuse.networks.embeddings import Label
from undiffuse.networks.masked import MaskedConv, leave, refuse_sizes

OWNER = "a pixelcnn"


class PixelCNN(AutoregressiveNetwork):
    """x (batch, channels, height, width) -> (batch, channels, outputs, height, width): `depth` gated layers of `width`.

    The vertical stack sees all rows above, the horizontal one its own row up to the value and what the vertical one
    says, so that no value before is hidden: there is no blind spot where depth * (kernel // 2) reaches across the
    image. kernel: places across, odd. coordinates: the vertical stack also sees where a place is, two channels from -1
    to 1 (arXiv:1807.03247), so that it knows how much is left where it does not reach the edges. A label is a bias in
    every gate. channels, outputs, classes: given by the data; symbol_width: numbers that a value is seen as, of symbols
    without an order.
    Raises Refused for sizes below 1, an even kernel, a width below the channels, and items that are no images of these
    channels. Source: arXiv:1606.05328, sec. 2 and fig. 2.
    """

    embeds: ClassVar[bool] = True

    def __init__(
        self,
        channels: int = 1,
        outputs: int = 2,
        dimensions: int = 2,
        width: int = 32,
        depth: int = 6,
        kernel: int = 5,
        classes: int = 0,
        symbol_width: int = 1,
        coordinates: bool = False,
    ) -> None:
        super().__init__()
        refuse_sizes(OWNER, channels, dimensions, width, depth, kernel)
        self.channels, self.outputs, self.width, self.reach = channels, outputs, width, kernel // 2
        self.inputs = inputs = channels * symbol_width
        self.places = 2 * coordinates
        first = GatedLayer(inputs, width, channels, kernel // 2, classes, True, self.places)
        later = [GatedLayer(width, width, channels, kernel // 2, classes, False) for _ in range(depth - 1)]
        self.layers = nn.ModuleList([first, *later])
        self.leave = leave(width, channels, outputs)

    def forward(self, x: Tensor, label: Tensor | None = None, drop: Any = None) -> Tensor:
        refuse_shape(x, self.inputs, 2, OWNER)
        reach, rows = self.reach, x.shape[2]
        above, row = self._placed(x), x
        for layer in self._layers:
            told = layer.told(x, label, drop)
            v = layer.vertical(F.pad(above, (reach, reach, reach, 0)))[:, :, :rows] + told[0]
            above, row = gate(v), layer.across(F.pad(row, (reach, 0)), layer.link(v) + told[1])
        return self.leave(row).unflatten(1, (self.channels, self.outputs))

    def walk(self, x: Tensor, label: Tensor | None = None, drop: Any = None) -> Iterator[Tensor]:
        """Of every layer the rows that are done are kept, and of the row that is drawn the places before."""
        refuse_shape(x, self.inputs, 2, OWNER)
        (batch, inputs, rows, columns), reach = x.shape, self.reach
        widths = [inputs, *[self.width] * (len(self.layers) - 1)]
        told = [layer.told(x, label, drop) for layer in self._layers]
        above = [F.pad(self._placed(torch.zeros_like(x)), (reach, reach, reach, 0))]
        above += [x.new_zeros(batch, width, rows + reach, columns + 2 * reach) for width in widths[1:]]
        for i in range(rows):
            if i:
                above[0][:, :inputs, reach + i - 1, reach:-reach] = x[:, :, i - 1]
            links = list[Tensor]()
            for k, layer in enumerate(self._layers):
                v = layer.vertical(above[k][:, :, i : i + layer.rows]) + told[k][0]
                links.append(layer.link(v) + told[k][1])
                if k + 1 < len(above):
                    above[k + 1][:, :, reach + i, reach:-reach] = gate(v)[:, :, 0]
            row = [x.new_zeros(batch, width, 1, reach + columns) for width in widths]
            for j in range(columns):
                for channel in range(self.channels):
                    h = x[:, :, i : i + 1]  # the whole row: what was drawn last is in it now
                    for k, layer in enumerate(self._layers):
                        row[k][..., reach + (j if k else 0) : reach + (j + 1 if k else columns)] = h
                        h = layer.across(row[k][..., j : j + reach + 1], links[k][..., j : j + 1])
                    yield self.leave(h)[:, channel * self.outputs : (channel + 1) * self.outputs, 0, 0]

    def _placed(self, x: Tensor) -> Tensor:
        """Values, and where they are."""
        if not self.places:
            return x
        along = (torch.linspace(-1, 1, side, dtype=x.dtype, device=x.device) for side in x.shape[2:])
        return torch.cat([x, torch.stack(torch.meshgrid(*along, indexing="ij")).expand(len(x), -1, -1, -1)], 1)

    @property
    def _layers(self) -> "list[GatedLayer]":
        return list(self.layers)  # pyright: ignore[reportReturnType]


class GatedLayer(nn.Module):
    """One layer of both stacks. reach: places to each side and rows above. first: of the values themselves, to which
    the vertical stack has so many channels `more`.
    """

    def __init__(
        self, inside: int, width: int, channels: int, reach: int, classes: int, first: bool, more: int = 0
    ) -> None:
        super().__init__()
        self.rows, self.first = reach + (not first), first  # the first does not see its own row
        self.vertical = nn.Conv2d(inside + more, 2 * width, (self.rows, 2 * reach + 1))
        self.link = nn.Conv2d(2 * width, 2 * width, 1)
        self.horizontal = MaskedConv(inside, 2 * width, channels, reach + 1, itself=not first, parts=2)
        self.out = MaskedConv(width, width, channels)
        self.labels = nn.ModuleList([Label(classes, 2 * width) for _ in range(2)])
        for label in self.labels:
            for table in label.parameters():
                nn.init.zeros_(table)

    def across(self, row: Tensor, link: Tensor) -> Tensor:
        """The horizontal stack's next features; row: with `reach` places before the first."""
        h = self.out(gate(self.horizontal(row) + link))
        return h if self.first else h + row[..., row.shape[-1] - h.shape[-1] :]

    def told(self, like: Tensor, label: Tensor | None, drop: Any) -> list[Tensor]:
        """What the label adds before both gates, (batch, 2 width, 1, 1)."""
        none = like.new_zeros(len(like), 2 * self.out.in_channels)
        return [each(none, label, drop)[..., None, None] for each in self.labels]


def gate(features: Tensor) -> Tensor:
    """tanh(a) sigmoid(b) of the two halves."""
    a, b = features.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)
