"""The lectures' network for points: a few fully connected layers, the time appended to the input."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.conditions import ConditionEmbedding, Specs
from undiffuse.networks.embeddings import Label, RawTime


class MLP(Network):
    """x (batch, *shape), c_time (batch,) -> (batch, *shape): `depth` hidden layers with ReLU over [x, time features].

    Anything is flattened, so points, rows of a table and small images all fit.
    channels: dimensions of a point; used where shape is empty.  shape: the data's shape, e.g. (2,) or (1, 8, 8).
    classes: number of classes, 0 for none; a class adds a learned vector to the first hidden layer, null nothing.
    conditions: vectors, a linear layer each; given by the data, see `ConditionEmbedding`.
    dropout: of the hidden layers' features. blur: in training noise of these deviations is added to vectors, by
        name, so that what is learned at one item holds around it (arXiv:1907.08982); the codec may say them.
    time_scale, time_shift, waves: see `RawTime`; the defaults are the lectures', for steps 0 to 999. With EDM's
        ln(sigma)/4 use 0.4 and 0.1; 4 to 8 waves help wherever the noise level matters much.

    Raises Refused for data of another size, for a label without classes, and for conditions of other kinds.
    """

    forms: ClassVar[tuple[str, ...]] = ("label", "vector")

    def __init__(
        self,
        channels: int = 2,
        classes: int = 0,
        shape: tuple[int, ...] = (),
        width: int = 256,
        depth: int = 3,
        time_scale: float = 1 / 999,
        time_shift: float = -0.5,
        waves: int = 0,
        dropout: float = 0.0,
        blur: Mapping[str, float] | None = None,
        conditions: Specs | None = None,
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "width": width, "depth": depth, f"shape {shape}": min(shape, default=1)}
        for name, value in sizes.items():
            if value < 1:
                raise Refused(f"{name} = {value}: an MLP needs at least 1")
        self.channels, self.classes, self.shape, self.width, self.depth = channels, classes, tuple(shape), width, depth
        self.size = math.prod(shape) if shape else channels
        self.time = RawTime(time_scale, time_shift, waves)
        self.label = Label(classes, width)
        self.conditioning = ConditionEmbedding(conditions or {}, width, "an MLP", self.forms)
        self.enter = nn.Linear(self.size + self.time.width, width)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(depth - 1)])
        self.leave = nn.Linear(width, self.size)
        self.blur = dict(blur or {})
        if not (0 <= dropout < 1 and min(self.blur.values(), default=0.0) >= 0):
            raise Refused(f"an MLP needs dropout from 0 to below 1 and blur of 0 or more, not {dropout:g} and {blur}")
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Drop = None, **cond: Any) -> Tensor:
        if x[:1].numel() != self.size and len(x):
            given = tuple(x.shape[1:])
            raise Refused(f"this MLP takes {self.size} numbers a sample, not {given}; build it with shape = {given}")
        features = self.time(c_time).to(x.dtype)
        h = self.enter(torch.cat([x.flatten(1), features], dim=1))
        h = self.label(h, label, drop)
        if self.training and self.blur:
            cond = {name: v + self.blur.get(name, 0.0) * torch.randn_like(v) for name, v in cond.items()}
        added, _ = self.conditioning.read(len(x), cond, drop)
        h = h if added is None else h + added.to(h.dtype)
        for layer in self.hidden:
            h = layer(self.dropout(h.relu()))
        return self.leave(self.dropout(h.relu())).view(x.shape)
