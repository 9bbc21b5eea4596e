"""A guess of tokens with some symbols ruled out, worked out some samples at a time and never written out whole."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.distribution.tokens import CHUNK, Categories, Tokens, inverted
from undiffuse.core.random import Random


@dataclass(frozen=True, eq=False)
class Restricted(Categories):
    """p(x) = guess(x) where allowed, normalised; any of what is allowed alike where the guess gives it no chance.

    guess: of `count` samples. allowed: booleans (*shape, vocabulary), true for a symbol or more at every place.
    `log_probs` and `mean` write everything out; all else holds as many samples at once as have 2^24 probabilities, at
    least one.
    """

    guess: Categories
    allowed: Tensor
    count: int

    @property
    def log_probs(self) -> Tensor:  # type: ignore[override]
        """Their logarithms, (batch, *shape, vocabulary)."""
        return torch.cat([found for _, found in self._some()])

    def sample(self, random: Random, where: Tensor | None = None) -> Tensor:
        u = random.uniform((self.count, *self.allowed.shape[:-1]), self.allowed.device)
        asked = torch.ones_like(u, dtype=torch.bool) if where is None else where
        return torch.cat([inverted(found, u[part], asked[part]) for part, found in self._some()])

    def log_each(self, x: Tensor) -> Tensor:
        return torch.cat([Tokens(found).log_each(x[part]) for part, found in self._some()])

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Tokens:
        return Tokens(change(self.log_probs))

    def rows(self, part: slice) -> "Restricted":
        return Restricted(self.guess.rows(part), self.allowed, len(range(self.count)[part]))

    def _some(self) -> Iterator[tuple[slice, Tensor]]:
        """Which samples, and their log-probabilities."""
        step = max(1, 16 * CHUNK // self.allowed.numel())
        for start in range(0, self.count, step):
            part = slice(start, min(start + step, self.count))
            found = self.guess.rows(part).log_probs.masked_fill(~self.allowed, -torch.inf)
            possible = (found > -torch.inf).any(-1, keepdim=True)
            alike = torch.zeros_like(found).masked_fill(~self.allowed, -torch.inf)
            yield part, torch.where(possible, found, alike).log_softmax(-1)
