"""PixelRNN: LSTMs that go over an image row by row, or diagonal by diagonal from both sides."""

from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.autoregressive import AutoregressiveNetwork
from undiffuse.networks.axes import refuse_shape
from undiffuse.networks.masked import MaskedConv, leave, refuse_sizes
from undiffuse.networks.recurrent import DiagonalLSTM, RowLSTM, Walk

OWNER = "a pixelrnn"


class PixelRNN(AutoregressiveNetwork):
    """x (batch, channels, height, width) -> (batch, channels, outputs, height, width): `depth` layers of LSTMs.

    lstm: "row" goes down, a row at once, each place with three of the row above, so that what lies above within a
    triangle is seen; "diagonal" goes over diagonals from the left and from the right, and sees everything before.
    width: of the features and the states. kernel: of the first convolution, odd. A label is a bias in every gate.
    channels, outputs, classes: given by the data. Raises Refused as `PixelCNN` does. Source: arXiv:1601.06759, sec. 3.
    """

    def __init__(
        self,
        channels: int = 1,
        outputs: int = 2,
        dimensions: int = 2,
        width: int = 32,
        depth: int = 2,
        kernel: int = 7,
        lstm: Literal["row", "diagonal"] = "diagonal",
        classes: int = 0,
    ) -> None:
        super().__init__()
        refuse_sizes(OWNER, channels, dimensions, width, depth, kernel)
        self.channels, self.outputs, self.width, self.reach = channels, outputs, width, kernel // 2
        self.above = nn.Conv2d(channels, width, (self.reach, kernel))
        self.enter = MaskedConv(channels, width, channels, self.reach + 1, itself=False)
        kind = {"row": RowLSTM, "diagonal": DiagonalLSTM}[lstm]
        self.layers = nn.ModuleList([kind(width, channels, classes) for _ in range(depth)])
        self.leave = leave(width, channels, outputs)

    def forward(self, x: Tensor, label: Tensor | None = None, drop: Any = None) -> Tensor:
        refuse_shape(x, self.channels, 2, OWNER)
        reach = self.reach
        above = self.above(F.pad(x, (reach, reach, reach, 0)))[:, :, : x.shape[2]]
        h = above + self.enter(F.pad(x, (reach, 0)))
        for layer in self.layers:
            h = layer(h, x, label, drop)
        return self.leave(h).unflatten(1, (self.channels, self.outputs))

    def walk(self, x: Tensor, label: Tensor | None = None, drop: Any = None) -> Iterator[Tensor]:
        """Of every layer the states of the row above and of the row that is drawn are kept."""
        refuse_shape(x, self.channels, 2, OWNER)
        (batch, channels, rows, columns), reach = x.shape, self.reach
        like = x.new_zeros(batch, self.width, columns)
        walks: list[Walk] = [layer.walk(like, label, drop) for layer in self.layers]  # pyright: ignore
        for i in range(rows):
            for each in walks if i else ():
                each.next_row(x[:, :, i - 1])
            before = F.pad(x, (reach, reach, reach, 0))[:, :, i : i + reach]
            above = self.above(before)[:, :, 0]
            for j in range(columns):
                for channel in range(channels):
                    line = F.pad(x[:, :, i : i + 1], (reach, 0))[..., j : j + reach + 1]
                    h = above[..., j] + self.enter(line)[..., 0, 0]
                    for each in walks:
                        h = each.place(j, h)
                    out = self.leave(h[..., None, None])[..., 0, 0]
                    yield out[:, channel * self.outputs : (channel + 1) * self.outputs]
