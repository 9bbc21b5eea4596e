"""Which class a noisy point or row of a table is of: a few fully connected layers, the time appended to the input."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.embeddings import RawTime
from undiffuse.networks.encoder import refuse_classes
from undiffuse.networks.table_mlp import frequencies


class MLPClassifier(Network):
    """x (batch, *shape), c_time (batch,) -> logits (batch, classes): `depth` hidden layers with SiLU, at first zero.

    SiLU rather than the `MLP`'s ReLU: guidance follows its gradient, which should not jump. Anything is flattened.
    bands: sines and cosines of each number x beside itself, sin(f x) and cos(f x) at so many frequencies f, see
    `frequencies`: what jumps or bends sharply in a column is learned sooner.
    classes, shape: given by the data.  time_scale, time_shift, waves: see `RawTime`.
    Raises Refused for fewer than 1 class, for sizes below 1 and for data of another size.
    """

    predicts: ClassVar[str] = "label"

    def __init__(
        self,
        classes: int = 2,
        shape: tuple[int, ...] = (2,),
        width: int = 128,
        depth: int = 3,
        time_scale: float = 1 / 999,
        time_shift: float = -0.5,
        waves: int = 0,
        bands: int = 0,
    ) -> None:
        super().__init__()
        refuse_classes(classes, "an MLP")
        for name, value in {"width": width, "depth": depth, f"shape {shape}": min(shape, default=1)}.items():
            if value < 1:
                raise Refused(f"{name} = {value}: an MLP needs at least 1")
        self.classes, self.shape, self.size = classes, tuple(shape), math.prod(shape)
        self.time = RawTime(time_scale, time_shift, waves)
        if bands < 0:
            raise Refused(f"bands = {bands}: an MLP takes 0 or more")
        self.register_buffer("bands", frequencies(bands), persistent=False)
        self.enter = nn.Linear(self.size * (1 + 2 * bands) + self.time.width, width)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(depth - 1)])
        self.leave = nn.Linear(width, classes)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        if x[:1].numel() != self.size and len(x):
            given = tuple(x.shape[1:])
            raise Refused(f"this MLP takes {self.size} numbers a sample, not {given}; build it with shape = {given}")
        bands: Any = self.bands
        parts = [x.flatten(1), self.time(c_time).to(x.dtype)]
        if len(bands):
            phase = (parts[0][:, :, None] * bands.to(x.dtype)).flatten(1)
            parts += [phase.sin(), phase.cos()]
        h = self.enter(torch.cat(parts, dim=1))
        for layer in self.hidden:
            h = layer(nn.functional.silu(h))
        return self.leave(nn.functional.silu(h))
