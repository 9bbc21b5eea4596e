"""An objective at drawn noise levels: what those share whose loss is one of a sample at a time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.random import Random
from undiffuse.core.times import Draw


class Timed(ABC):
    """times: how the noise levels are drawn."""

    times: Draw

    def __call__(self, denoiser: Denoiser, x_0: Tensor, random: Random, cond: Mapping[str, Any]) -> Tensor:
        """The loss of each sample, (batch,)."""
        t = self.times(denoiser.process.schedule, random.fold(0), len(x_0))
        return self.at(t, denoiser, x_0, random.fold(1), cond)

    @abstractmethod
    def at(self, t: Tensor, denoiser: Denoiser, x_0: Tensor, random: Random, cond: Mapping[str, Any]) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
