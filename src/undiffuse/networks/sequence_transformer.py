"""A transformer that looks both ways, for lines of values: each place is read into the width, and read out of it."""

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.conditions import ConditionEmbedding, Specs
from undiffuse.networks.embeddings import Label, positional
from undiffuse.networks.positions import coordinates, rotations
from undiffuse.networks.transformer import AdaptiveNorm, TransformerBlock, check_sizes


class SequenceTransformer(Network):
    """Values x (batch, channels, length), c_time (batch,) -> the same shape, all 0 before training.

    The blocks of `transformer`, with a linear layer where that has its embedding and its logits: each place is one
    token of so many channels, places are known by rotary angles alone, and every norm is conditioned on the time.
    classes: number of classes, 0 for none; the norms are conditioned on the class, and on vectors.
    mask: booleans (batch, 1, length), the places that are no padding; None: all.
    channels: of the data, which are lines with channels, (channels, length).
    Raises Refused for data of another kind, and for a width that the heads do not divide evenly.
    Source: arXiv:2212.09748, sec. 3.2 (adaLN), arXiv:2104.09864 (rotary places).
    """

    half_pays: ClassVar[bool] = True  # bfloat16 halves a training step where the device multiplies it
    forms: ClassVar[tuple[str, ...]] = ("label", "vector")
    masks: ClassVar[bool] = True

    def __init__(
        self,
        channels: int = 0,
        dimensions: int = 1,
        classes: int = 0,
        conditions: Specs | None = None,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        mlp: float = 4.0,
        dropout: float = 0.0,
        near: int = 0,
    ) -> None:
        super().__init__()
        if channels < 1 or dimensions != 1:
            raise Refused("sequence_transformer is for lines with channels, (channels, length): pictures take a unet")
        check_sizes("sequence_transformer", width, depth, heads, mlp, dropout, near)
        self.width, self.turn = width, width // heads
        self.enter = nn.Linear(channels, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.label = Label(classes, width)
        self.conditioning = ConditionEmbedding(conditions or {}, width, "sequence_transformer", self.forms)
        inside = round(mlp * width)
        self.blocks = nn.ModuleList([TransformerBlock(width, heads, inside, dropout, True, near) for _ in range(depth)])
        self.norm = AdaptiveNorm(width, True)
        self.leave = nn.Linear(width, channels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        x: Tensor,
        c_time: Tensor,
        label: Tensor | None = None,
        drop: Drop = None,
        mask: Tensor | None = None,
        **cond: Any,
    ) -> Tensor:
        c = self.label(self.time(positional(c_time, self.width).to(x.dtype)), label, drop)
        added, _ = self.conditioning.read(len(x), cond, drop)
        c = F.silu(c if added is None else c + added)[:, None]  # (batch, 1, width)
        h = self.enter(x.transpose(1, 2))  # (batch, length, width)
        turns = rotations(coordinates([h.shape[1]], [], h.device), self.turn)
        real = None if mask is None else mask.reshape(len(x), -1)
        there = None if real is None else real[:, None, None]
        for block in self.blocks:
            h = block(h, turns, c, there, real)
        return self.leave(self.norm(h, c)).transpose(1, 2)
