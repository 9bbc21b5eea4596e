"""What every belief about a batch can do: be drawn from, compared and mixed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from undiffuse.core import named_parts
from undiffuse.core.broadcast import factor
from undiffuse.core.named_parts import rows
from undiffuse.core.random import Random


class Distribution(ABC):
    """A belief about a batch (batch, *shape), independent over samples and elements."""

    mean: Any  # tokens: probabilities
    fraction: Tensor | None = None  # of a guess with a learned range of variances, see `reverse`

    @property
    def certain(self) -> bool:
        """Whether it is certain everywhere, which only values say of themselves."""
        return False

    @property
    def reported(self) -> bool:
        """Whether it says how sure it is; values may come without a variance."""
        return True

    @property
    def plain(self) -> "Distribution":
        """The belief without a mask."""
        return self

    @abstractmethod
    def sample(self, random: Random) -> Any:
        """One draw a sample; depends on the stream and the sample index only."""

    @abstractmethod
    def log_each(self, x: Any) -> Any:
        """Log-density (values) or log-probability (tokens) of each element in nats, (batch, *shape)."""

    @abstractmethod
    def kl_each(self, other: Any) -> Any:
        """KL(self || other) of each element in nats, (batch, *shape)."""

    @abstractmethod
    def error_each(self, x_0: Any) -> Any:
        """The Bregman loss that E[x_0] minimises: squared error or cross-entropy of each element, (batch, *shape)."""

    def log_prob(self, x: Any) -> Tensor:
        """`log_each` summed over elements: (batch,)."""
        return over_elements(self.log_each(x))

    def kl(self, other: Any) -> Tensor:
        """`kl_each` summed over elements: (batch,)."""
        return over_elements(self.kl_each(other))

    def error(self, x_0: Any) -> Tensor:
        """`error_each` summed over elements: (batch,)."""
        return over_elements(self.error_each(x_0))

    def masked(self, mask: Any) -> "Masked":
        """The belief about items of different sizes: nothing outside the mask counts, see `Masked`."""
        return Masked(self, mask)

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


@dataclass(frozen=True, eq=False)
class Masked(Distribution):
    """A belief of which only some elements count: those of padding add nothing to log_prob, kl and error, and their
    mean and their samples are 0.

    mask: booleans (batch, ...), true for data; it has the first dimensions of a batch, (batch, atoms) for positions
    (batch, atoms, 3), or broadcasts to it. For named parts one mask for all, or a dictionary of theirs.
    """

    belief: Distribution
    mask: Any

    @property
    def mean(self) -> Any:  # type: ignore[override]
        return unpadded(self.belief.mean, self.mask)

    @property
    def certain(self) -> bool:
        return self.belief.certain

    @property
    def reported(self) -> bool:
        return self.belief.reported

    def sample(self, random: Random) -> Any:
        return unpadded(self.belief.sample(random), self.mask)

    def log_each(self, x: Any) -> Any:
        return unpadded(self.belief.log_each(x), self.mask)

    def kl_each(self, other: Any) -> Any:
        """other: a belief about the same items, masked itself or not."""
        return unpadded(self.belief.kl_each(other.plain), self.mask)

    def error_each(self, x_0: Any) -> Any:
        return unpadded(self.belief.error_each(x_0), self.mask)

    @property
    def plain(self) -> Distribution:
        return self.belief

    def mean_only(self) -> "Masked":
        return Masked(self.belief.mean_only(), self.mask)

    def rows(self, part: slice) -> "Masked":
        return Masked(self.belief.rows(part), rows(self.mask, part))

    def blend(self, other: Any, weight: float | Tensor) -> "Masked":
        return Masked(self.belief.blend(other.plain, weight), self.mask)


def unpadded(x: Any, mask: Any) -> Any:
    """x (batch, *shape) with 0 where the mask is false, see `Masked`; of named parts each."""
    if isinstance(x, Mapping):
        parts: Mapping[str, Any] = x  # pyright: ignore[reportUnknownVariableType]
        of: Mapping[str, Any] = mask if isinstance(mask, Mapping) else dict.fromkeys(parts, mask)  # pyright: ignore[reportUnknownVariableType]
        return {name: unpadded(part, of[name]) for name, part in parts.items()}
    return torch.where(mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim)), x, 0)


def counted(x: Any, mask: Any) -> Tensor:
    """How many elements of each item count, (batch,) float32, at least 1."""
    ones = named_parts.each(lambda part: torch.ones_like(part, dtype=torch.float32), x)
    return over_elements(unpadded(ones, mask)).clamp(min=1)


def each(weight: float | Tensor, like: Tensor) -> float | Tensor:
    """A weight for all samples as it is, one a sample (batch,) shaped to multiply `like`."""
    return factor(weight, like) if isinstance(weight, Tensor) else weight


def over_elements(elements: Any) -> Tensor:
    """The sum over everything but the batch: (batch,). Of named parts the sum of theirs."""
    if isinstance(elements, Mapping):
        parts: Mapping[str, Any] = elements  # pyright: ignore[reportUnknownVariableType]
        return torch.stack([over_elements(part) for part in parts.values()]).sum(0)
    return elements.flatten(1).sum(1) if elements.ndim > 1 else elements
