"""What score matching without targets shares: a loss at drawn noise levels from a functional of the score."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.families import VALUES
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.objectives.timed import Timed


class ScoreMatching(Timed, ABC):
    """loss = sigma^2 J / d for a functional J of the score at x_t; times: how the noise levels are drawn."""

    families: ClassVar[frozenset[str]] = VALUES

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        process, x_0 = model.process, batch.x
        x_t = process.marginal(x_0, t).sample(random.fold(0))
        _, sigma = process.schedule.at(t, x_0)

        def score(x: Tensor) -> Tensor:
            return process.score(x, model(x, t, **batch.cond), t)

        return (sigma**2).to(x_t).flatten() * self.functional(score, x_t, random) / x_t[0].numel()

    @abstractmethod
    def functional(self, score: Callable[[Tensor], Tensor], x: Tensor, random: Random) -> Tensor:
        """J of any score at x: (batch,), a sum over elements, with a graph to train by."""
