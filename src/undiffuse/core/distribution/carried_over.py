"""A guess that carries over: tokens that are no mask are certain, and only the masked ones are guessed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.distribution.tokens import Categories, Tokens
from undiffuse.core.random import Random


@dataclass(frozen=True, eq=False)
class Carried(Categories):
    """p(x_0) = guess where x_t is the mask, else onehot(x_t); the mask itself has no chance.

    here: x_t, (batch, *shape). mask: which token it is. guess: over the `symbols` that are data, 0 ... symbols - 1, and
    never written out unless asked. size: the vocabulary, the mask among it. Source: arXiv:2406.07524, SUBS.
    """

    here: Tensor
    guess: Tokens
    mask: int
    size: int

    @property
    def log_probs(self) -> Tensor:  # type: ignore[override]
        """Their logarithms, (batch, *shape, vocabulary)."""
        found = self.guess.log_probs
        beyond = found.new_full((*found.shape[:-1], self.size - found.shape[-1]), -torch.inf)
        onehot = torch.nn.functional.one_hot(self.here.long(), self.size).to(found).log()
        return torch.where(self._masked[..., None], torch.cat([found, beyond], dim=-1), onehot)

    def sample(self, random: Random, where: Tensor | None = None) -> Tensor:
        asked = self._masked if where is None else self._masked & where
        drawn = torch.where(self._masked, self.guess.sample(random, asked), self.here)
        return drawn if where is None else torch.where(where, drawn, 0)

    def log_each(self, x: Tensor) -> Tensor:
        symbols = self.guess.log_probs.shape[-1]
        found = torch.where(x < symbols, self.guess.log_each(x.clamp(max=symbols - 1)), -torch.inf)
        certain = torch.where(x == self.here, 0.0, -torch.inf).to(found)
        return torch.where(self._masked, found, certain)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Carried":
        return Carried(self.here, self.guess.mapped(change), self.mask, self.size)

    def rows(self, part: slice) -> "Carried":
        return Carried(self.here[part], self.guess.rows(part), self.mask, self.size)

    @property
    def _masked(self) -> Tensor:
        return self.here == self.mask
