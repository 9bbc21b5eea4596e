"""The diffusion prior's network: a causal transformer that reads a text, the time and a noisy vector, and guesses."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop, drop_mask
from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.conditions import Specs
from undiffuse.networks.embeddings import positional
from undiffuse.networks.positions import coordinates, rotations
from undiffuse.networks.transformer import TransformerBlock, check_sizes


class PriorTransformer(Network):
    """x (batch, features), c_time (batch,) -> (batch, features), all 0 before training.

    The tokens are, in this order, those of each text, the text's own vector, other vectors, the time, x, and a learned
    query, whose last state is read out; each sees itself and those before it that are there. A text is (length,
    inside), its vector in the last row and before it those of its tokens, zeros where there is none, as runs of kind
    clip give it. A condition that is dropped or left out has a learned vector in the place of its own, and no tokens.
    features: of the data, which are vectors. width, depth, heads, mlp, dropout: see `Transformer`; places are rotary.
    Source: arXiv:2204.06125, sec. 2.2. Raises Refused for data of another kind, texts that are no embeddings, and a
    width that the heads do not divide evenly.
    """

    forms: ClassVar[tuple[str, ...]] = ("vector", "text")
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
        self.conditions = dict(conditions or {})
        for name, (form, sizes) in self.conditions.items():
            if form not in self.forms or (form == "text" and len(sizes) != 2):
                raise Refused(
                    f"prior_transformer reads texts that a run embeds (prompts) and vectors; {name!r} is neither"
                )
        texts = {name: sizes for name, (form, sizes) in self.conditions.items() if form == "text"}
        self.tokens = nn.ModuleDict({_key(name): nn.Linear(sizes[-1], width) for name, sizes in texts.items()})
        self.vectors = nn.ModuleDict(
            {_key(name): nn.Linear(sizes[-1], width) for name, (_, sizes) in self.conditions.items()}
        )
        self.nulls = nn.ParameterDict({_key(name): torch.randn(width).mul_(0.02) for name in self.conditions})
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
        parts, there = self._read(len(x), cond, drop)
        time = self.time(positional(c_time, self.width).to(self.query.dtype))
        parts += [time[:, None], self.enter(x)[:, None], self.query.expand(len(x), 1, -1)]
        there.append(torch.ones(len(x), 3, dtype=torch.bool, device=x.device))
        h, known = torch.cat(parts, dim=1), torch.cat(there, dim=1)
        count = h.shape[1]
        own = torch.eye(count, dtype=torch.bool, device=x.device)  # so that a token that nobody sees sees something
        seen = torch.ones_like(own).tril() & (known[:, None, None] | own)  # (batch, 1, tokens, tokens)
        turns = rotations(coordinates([count], [], x.device), self.turn)
        for block in self.blocks:
            h = block(h, turns, None, seen)
        return self.leave(self.norm(h[:, -1]))

    def _read(self, n: int, cond: Mapping[str, Any], drop: Drop) -> tuple[list[Tensor], list[Tensor]]:
        """The tokens of the conditions, (n, tokens, width) each, and booleans (n, tokens), which of them are there."""
        for name in cond:
            if name not in self.conditions:
                known = ", ".join(self.conditions) or "none"
                raise Refused(f"this prior_transformer was not built for {name!r}; its conditions are: {known}")
        vectors: list[Tensor] = []
        tokens: list[Tensor] = []
        there: list[Tensor] = []
        for name, (_, sizes) in self.conditions.items():
            key, null, value = _key(name), drop_mask(drop, name), cond.get(name)
            absent = self.nulls[key].expand(n, -1)
            if value is None:
                vectors.append(absent)
                continue
            if value.shape != (n, *sizes):
                raise Refused(f"prior_transformer takes {name!r} of shape {(n, *sizes)}, not {tuple(value.shape)}")
            value = value.to(absent.dtype)
            last = self.vectors[key](value if len(sizes) == 1 else value[:, -1])
            vectors.append(last if null is None else torch.where(null[:, None], absent, last))
            if key in self.tokens:
                shown = (value[:, :-1] != 0).any(-1)
                tokens.append(self.tokens[key](value[:, :-1]))
                there.append(shown if null is None else shown & ~null[:, None])
        if not vectors:
            return [], []
        always = torch.ones(n, len(vectors), dtype=torch.bool, device=vectors[0].device)
        return [*tokens, torch.stack(vectors, dim=1)], [*there, always]


def _key(name: str) -> str:
    return f"condition_{name}"  # a ModuleDict takes no names that modules have of their own, such as `type`
