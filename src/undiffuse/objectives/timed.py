"""An objective at drawn noise levels: what those share whose loss is one of a sample at a time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution


class Timed(ABC):
    """times: how the noise levels are drawn."""

    times: TimeDistribution

    def __call__(self, denoiser: Denoiser, x_0: Tensor, random: Random, cond: Mapping[str, Any]) -> Tensor:
        """The loss of each sample, (batch,); raises Refused for tokens that are no data, such as a mask."""
        _refuse_masks(denoiser, x_0)
        t = self.times(denoiser.process.schedule, random.fold(0), len(x_0))
        return self.at(t, denoiser, x_0, random.fold(1), cond)

    @abstractmethod
    def at(self, t: Tensor, denoiser: Denoiser, x_0: Tensor, random: Random, cond: Mapping[str, Any]) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""


def _refuse_masks(denoiser: Denoiser, x_0: Any) -> None:
    symbols = denoiser.symbols
    if symbols is None or x_0.is_floating_point() or x_0.device.type != "cpu" or not x_0.numel():
        return
    if int(x_0.max()) >= symbols:
        raise Refused(
            f"the data have the token {int(x_0.max())}, and the symbols of data are 0 ... {symbols - 1}: a mask is no "
            "data"
        )
