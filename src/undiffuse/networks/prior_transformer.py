"""The diffusion prior's network: a causal transformer that reads a text, the time and a noisy vector, and guesses."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.conditions import Specs
from undiffuse.networks.embeddings import positional
from undiffuse.networks.positions import coordinates, rotations
from undiffuse.networks.prefix import FORMS, PrefixTokens, causal
from undiffuse.networks.transformer import TransformerBlock, check_sizes


class PriorTransformer(Network):
    """x (batch, features), c_time (batch,) -> (batch, features), all 0 before training.

    The tokens are, in this order, those of each text, the text's own vector, other vectors, the time, x, and a learned
    query, whose last state is read out; each sees itself and those before it that are there, see `PrefixTokens`.
    features: of the data, which are vectors. width, depth, heads, mlp, dropout: see `Transformer`; places are rotary.
    Source: arXiv:2204.06125, sec. 2.2. Raises Refused for data of another kind, texts that are no embeddings, and a
    width that the heads do not divide evenly.
    """

    forms: ClassVar[tuple[str, ...]] = FORMS
    half_pays: ClassVar[bool] = True

    def __init__(
        self,
        features: int = 2,
        shape: tuple[int, ...] = (),
        conditions: Specs | None = None,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        mlp: float = 4.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(shape) > 1 or features < 1:
            raise Refused(f"prior_transformer is for vectors (features,), not for items of shape {shape}")
        check_sizes("prior_transformer", width, depth, heads, mlp, dropout, 0)
        self.features, self.width, self.turn = features, width, width // heads
        self.prefix = PrefixTokens(conditions or {}, width, "prior_transformer")
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.enter, self.query = nn.Linear(features, width), nn.Parameter(torch.randn(width).mul_(0.02))
        inside = round(mlp * width)
        self.blocks = nn.ModuleList([TransformerBlock(width, heads, inside, dropout, False, 0) for _ in range(depth)])
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, features)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, c_time: Tensor, drop: Drop = None, **cond: Any) -> Tensor:
        if x.shape[1:] != (self.features,):
            raise Refused(f"this prior_transformer takes vectors of {self.features} numbers, not {tuple(x.shape[1:])}")
        time = self.time(positional(c_time, self.width).to(self.query.dtype))
        before, there = self.prefix(time, cond, drop)
        own = torch.stack([time, self.enter(x), self.query.expand(len(x), -1)], dim=1)
        h = torch.cat([before, own], dim=1)
        seen = causal(torch.cat([there, torch.ones_like(own[..., 0], dtype=torch.bool)], dim=1))
        turns = rotations(coordinates([h.shape[1]], [], x.device), self.turn)
        for block in self.blocks:
            h = block(h, turns, None, seen)
        return self.leave(self.norm(h[:, -1]))
