"""A belief about several named parts, independent given what is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.random import Random


@dataclass(frozen=True, eq=False)
class Joint(Distribution):
    """Several named parts, independent given what is known; a sample is a dictionary of their samples."""

    parts: Mapping[str, Distribution]

    @property
    def mean(self) -> dict[str, Any]:  # type: ignore[override]
        """Each part's mean."""
        return {name: part.mean for name, part in self.parts.items()}

    @property
    def reported(self) -> bool:
        """Whether all parts say how sure they are."""
        return all(part.reported for part in self.parts.values())

    def __getitem__(self, name: str) -> Distribution:
        return self.parts[name]

    def sample(self, random: Random) -> dict[str, Any]:
        return {name: part.sample(random.fold(i)) for i, (name, part) in enumerate(self.parts.items())}

    def log_each(self, x: Mapping[str, Any]) -> dict[str, Any]:
        return {name: part.log_each(x[name]) for name, part in self.parts.items()}

    def kl_each(self, other: Self) -> dict[str, Any]:
        return {name: part.kl_each(other.parts[name]) for name, part in self.parts.items()}

    def error_each(self, x_0: Mapping[str, Any]) -> dict[str, Any]:
        return {name: part.error_each(x_0[name]) for name, part in self.parts.items()}

    def mean_only(self) -> "Joint":
        return Joint({name: part.mean_only() for name, part in self.parts.items()})

    def rows(self, part: slice) -> "Joint":
        return Joint({name: belief.rows(part) for name, belief in self.parts.items()})

    def blend(self, other: Self, weight: float | Tensor) -> "Joint":
        return Joint({name: part.blend(other.parts[name], weight) for name, part in self.parts.items()})
