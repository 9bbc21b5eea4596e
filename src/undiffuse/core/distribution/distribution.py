"""What every belief about a batch can do: be drawn from, compared and mixed."""

from abc import ABC, abstractmethod
from typing import Any, Self

from torch import Tensor

from undiffuse.core.random import Random


class Distribution(ABC):
    """A belief about a batch (batch, *shape), independent over samples and elements."""

    mean: Any  # tokens: probabilities
    fraction: Tensor | None = None  # of a guess with a learned range of variances, see `reverse`

    @property
    def certain(self) -> bool:
        """Whether a draw has no noise, of values."""
        return False

    @property
    def reported(self) -> bool:
        """Whether the guess says how sure it is: all but values without a variance do."""
        return True

    @abstractmethod
    def sample(self, random: Random) -> Any:
        """One draw a sample; depends on the stream and the sample index only."""

    @abstractmethod
    def log_prob(self, x: Any) -> Tensor:
        """Log-density (values) or log-probability (tokens) in nats, summed over elements: (batch,)."""

    @abstractmethod
    def kl(self, other: Any) -> Tensor:
        """KL(self || other) in nats, summed over elements: (batch,)."""

    @abstractmethod
    def error(self, x_0: Any) -> Tensor:
        """The Bregman loss that E[x_0] minimises, summed over elements: squared error or cross-entropy; (batch,)."""

    @abstractmethod
    def mean_only(self) -> Self:
        """The belief without its variance, for deterministic samplers; tokens: itself."""

    @abstractmethod
    def rows(self, part: slice) -> Self:
        """The belief about some of the samples."""

    @abstractmethod
    def blend(self, other: Any, weight: float | Tensor) -> Self:
        """From self towards other, and past it for a weight above 1: guidance is `without.blend(with, weight)`.

        Values: mean + weight (mean' - mean), with the variance of other, which is guided to. Tokens: the log mixture
        p^(1 - weight) p'^weight, normalised. weight: a number, or (batch,).
        """


def each(weight: float | Tensor, like: Tensor) -> float | Tensor:
    """A weight for all samples as it is, one a sample (batch,) shaped to multiply `like`."""
    return weight.to(like).reshape(-1, *(1,) * (like.ndim - 1)) if isinstance(weight, Tensor) else weight


def over_elements(elements: Tensor) -> Tensor:
    """The sum over everything but the batch: (batch,)."""
    return elements.flatten(1).sum(1) if elements.ndim > 1 else elements
