"""The lectures' network for images, here for sequences and volumes too: convolutions at full resolution."""

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.axes import convolution, everywhere, refuse_dimensions, refuse_shape
from undiffuse.networks.embeddings import Label, RawTime


class ConvNet(Network):
    """x (batch, channels, height, width), c_time (batch,) -> x's shape: a stack of convolutions with ReLU between.

    The time comes in as constant channels. The defaults are the lectures': seven 5 x 5 convolutions with 64 channels.
    An output sees 1 + depth * (kernel - 1) pixels across; any size goes.
    dimensions: 1 for sequences (batch, channels, length), 2 for images, 3 for volumes; given by the data.
    classes: number of classes, 0 for none; a class adds a learned vector after the first convolution, null nothing.
    time_scale, time_shift, waves: see `RawTime`; the defaults are the lectures', for steps 0 to 999. With EDM's
        ln(sigma)/4 use 0.4 and 0.1; 4 to 8 waves help wherever the noise level matters much.

    Raises Refused for inputs with other channels, for an even kernel, and for a label without classes.
    """

    forms: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(
        self,
        channels: int = 1,
        classes: int = 0,
        width: int = 64,
        depth: int = 7,
        kernel: int = 5,
        time_scale: float = 1 / 999,
        time_shift: float = -0.5,
        waves: int = 0,
        dimensions: int = 2,
    ) -> None:
        super().__init__()
        refuse_dimensions(dimensions, "a ConvNet")
        for name, value, least in (
            ("channels", channels, 1),
            ("width", width, 1),
            ("depth", depth, 2),
            ("kernel", kernel, 1),
        ):
            if value < least:
                raise Refused(f"{name} = {value}: a ConvNet needs at least {least}")
        if kernel % 2 == 0:
            raise Refused(f"kernel = {kernel}: it must be odd, so that the output has the input's size")
        self.channels, self.classes, self.width, self.depth, self.kernel = channels, classes, width, depth, kernel
        self.dimensions = dimensions
        self.time = RawTime(time_scale, time_shift, waves)
        self.label = Label(classes, width)
        widths = [channels + self.time.width, *[width] * (depth - 1), channels]
        enter, *hidden, leave = [
            convolution(dimensions, inside, out, kernel, padding=kernel // 2) for inside, out in pairwise(widths)
        ]
        self.enter, self.hidden, self.leave = enter, nn.ModuleList(hidden), leave

    def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Drop = None) -> Tensor:
        refuse_shape(x, self.channels, self.dimensions, "this ConvNet")
        features = everywhere(self.time(c_time).to(x.dtype), x).expand(-1, -1, *x.shape[2:])
        h = self.enter(torch.cat([x, features], dim=1))
        h = h + everywhere(self.label(h.new_zeros(len(x), self.width), label, drop), h)
        for layer in self.hidden:
            h = layer(h.relu())
        return self.leave(h.relu())
