"""An objective at drawn noise levels: what those share whose loss is one of a sample at a time."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core import families, registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.objective import RUN, Batch, Objective
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution


class Timed(Objective, ABC):
    """times: how the noise levels are drawn. masks: whether it leaves padding out, see `Batch`."""

    timed: ClassVar[bool] = True
    masks: ClassVar[bool] = False
    trains: ClassVar[type] = Denoiser

    times: TimeDistribution

    def loss(self, model: Any, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        """The loss of each sample, (batch,); raises Refused for a process of another family, for tokens that are no
        data, such as a mask, and for items of different sizes where the objective cannot leave padding out.
        """
        if batch.mask is not None and not self.masks:
            raise Refused(f"objective {registry.name_of(self)!r} cannot leave padding out: take denoising or elbo")
        families.check(self, model.process)
        _refuse_masks(model, batch.x)
        t = self.times(model.process.schedule, random.fold(0), len(batch))
        return self.at(t, model, batch, random.fold(1))

    @abstractmethod
    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""


def _refuse_masks(model: Any, x_0: Any) -> None:
    if not isinstance(x_0, Tensor) or x_0.is_floating_point() or x_0.device.type != "cpu" or not x_0.numel():
        return
    symbols = model.symbols
    if symbols is not None and int(x_0.max()) >= symbols:
        raise Refused(
            f"the data have the token {int(x_0.max())}, and the symbols of data are 0 ... {symbols - 1}: a mask is no "
            "data"
        )
