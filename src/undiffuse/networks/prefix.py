"""What stands before a causal sequence: the tokens of texts, the vector of each text, and other vectors."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop, drop_mask
from undiffuse.core.errors import Refused
from undiffuse.networks.conditions import Specs

FORMS = ("vector", "text")


class PrefixTokens(nn.Module):
    """Conditions -> tokens (n, tokens, width) and booleans (n, tokens), which of them are there; none of no conditions.

    A text is (length, inside), its vector in the last row and before it those of its tokens, zeros where there is none,
    as runs of kind clip give it. The order is: tokens of texts, vectors of texts and others. A condition that is
    dropped or left out has a learned vector in the place of its own, and no tokens.
    Raises Refused, in the owner's name, for texts that are no embeddings, and for other conditions.
    """

    def __init__(self, conditions: Specs, width: int, owner: str) -> None:
        super().__init__()
        self.conditions, self.owner = dict(conditions), owner
        for name, (form, sizes) in conditions.items():
            if form not in FORMS or (form == "text" and len(sizes) != 2):
                raise Refused(f"{owner} reads texts that a run embeds (prompts) and vectors; {name!r} is neither")
        texts = {name: sizes for name, (form, sizes) in conditions.items() if form == "text"}
        self.tokens = nn.ModuleDict({_key(name): nn.Linear(sizes[-1], width) for name, sizes in texts.items()})
        self.vectors = nn.ModuleDict(
            {_key(name): nn.Linear(sizes[-1], width) for name, (_, sizes) in conditions.items()}
        )
        self.nulls = nn.ParameterDict({_key(name): torch.randn(width).mul_(0.02) for name in conditions})

    def forward(self, like: Tensor, cond: Mapping[str, Any], drop: Drop) -> tuple[Tensor, Tensor]:
        """like: (n, width), of the device and the dtype that are wanted."""
        n = len(like)
        vectors: list[Tensor] = []
        tokens: list[Tensor] = []
        there: list[Tensor] = []
        self._check(n, cond)
        for name, (_, sizes) in self.conditions.items():
            key, null, value = _key(name), drop_mask(drop, name), cond.get(name)
            absent = self.nulls[key].expand(n, -1)
            if value is None:
                vectors.append(absent)
                continue
            value = value.to(absent.dtype)
            last = self.vectors[key](value if len(sizes) == 1 else value[:, -1])
            vectors.append(last if null is None else torch.where(null[:, None], absent, last))
            if key in self.tokens:
                shown = (value[:, :-1] != 0).any(-1)
                tokens.append(self.tokens[key](value[:, :-1]))
                there.append(shown if null is None else shown & ~null[:, None])
        found = torch.cat([*tokens, *(each[:, None] for each in vectors), like.new_zeros(n, 0, like.shape[1])], dim=1)
        always = torch.ones(n, len(vectors), dtype=torch.bool, device=like.device)
        return found, torch.cat([*there, always], dim=1)

    def _check(self, n: int, cond: Mapping[str, Any]) -> None:
        for name, value in cond.items():
            if name not in self.conditions:
                known = ", ".join(self.conditions) or "none"
                raise Refused(f"{self.owner} was not built for {name!r}; its conditions are: {known}")
            wanted = (n, *self.conditions[name][1])
            if value.shape != wanted:
                raise Refused(f"{self.owner} takes {name!r} of shape {wanted}, not {tuple(value.shape)}")


def causal(there: Tensor) -> Tensor:
    """Which tokens each one sees, (n, 1, tokens, tokens): itself and those before it that are there (n, tokens)."""
    own = torch.eye(there.shape[1], dtype=torch.bool, device=there.device)  # one that nobody sees sees something, too
    return torch.ones_like(own).tril() & (there[:, None, None] | own)


def _key(name: str) -> str:
    return f"condition_{name}"  # a ModuleDict takes no names that modules have of their own, such as `type`
