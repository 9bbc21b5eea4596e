"""A mixture of three beliefs about tokens: what is there, a guess, and noise; never written out unless asked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from undiffuse.core.distribution.tokens import Categories, Tokens, logs
from undiffuse.core.random import Random

_GUESS, _NOISE = -11, -12  # the streams of the second draw


@dataclass(frozen=True, eq=False)
class Mixed(Categories):
    """p = keep onehot(here) + pull guess + fresh noise,  keep + pull + fresh = 1.

    A draw first picks one of the three, and asks the guess only where it was picked: the vocabulary is summed over
    there alone. `log_probs` and `mean` write everything out, in float64.
    here: tokens (batch, *shape). keep, pull, fresh: float64, broadcast to it. noise: probabilities (vocabulary,),
    float64. guess: None where pull is 0.
    """

    here: Tensor
    keep: Tensor
    fresh: Tensor
    noise: Tensor
    pull: Tensor | None = None
    guess: Categories | None = None

    @property
    def mean(self) -> Tensor:  # type: ignore[override]
        """The probabilities, (batch, *shape, vocabulary), in float64."""
        onehot = torch.nn.functional.one_hot(self.here, len(self.noise)).double()
        probs = self.keep[..., None] * onehot + self.fresh[..., None] * self.noise
        return probs if self.guess is None or self.pull is None else probs + self.pull[..., None] * self.guess.mean

    @property
    def log_probs(self) -> Tensor:  # type: ignore[override]
        """Their logarithms, in float64; where a probability is 0 it has no gradient."""
        return logs(self.mean)

    def sample(self, random: Random, where: Tensor | None = None) -> Tensor:
        shape, device = tuple(self.here.shape), self.here.device
        u = random.uniform(shape, device)
        drawn = self._of_noise(random.fold(_NOISE).uniform(shape, device))
        within = self.keep
        if self.guess is not None and self.pull is not None:
            within = self.keep + self.pull
            asked = (u >= self.keep) & (u < within)
            asked = asked if where is None else asked & where
            drawn = torch.where(u < within, self.guess.sample(random.fold(_GUESS), asked), drawn)
        drawn = torch.where(u < self.keep, self.here, drawn)
        return drawn if where is None else torch.where(where, drawn, 0)

    def log_each(self, x: Tensor) -> Tensor:
        x = x.long()
        probs = self.keep * (x == self.here) + self.fresh * self.noise[x]
        if self.guess is not None and self.pull is not None:
            probs = probs + self.pull * self.guess.log_each(x).exp()
        return logs(probs)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Tokens:
        return Tokens(change(self.log_probs))

    def rows(self, part: slice) -> Self:
        keep, fresh, pull = (self._cut(each, part) for each in (self.keep, self.fresh, self.pull))
        guess = None if self.guess is None else self.guess.rows(part)
        return type(self)(self.here[part], keep, fresh, self.noise, pull, guess)  # type: ignore[arg-type]

    def _cut(self, each: Tensor | None, part: slice) -> Tensor | None:
        """These rows of what has a number for every row; else all of it."""
        if each is None or each.ndim < self.here.ndim or len(each) != len(self.here):
            return each
        return each[part]

    def _of_noise(self, u: Tensor) -> Tensor:
        cumulative = self.noise.cumsum(0)
        return torch.searchsorted(cumulative, u * cumulative[-1], right=True).clamp(max=len(cumulative) - 1)
