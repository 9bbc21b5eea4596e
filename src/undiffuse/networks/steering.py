"""What a network offers whose first part can be copied, and that can be steered by what such a copy finds."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Steerable(ABC):
    """A network whose first part can be copied; what the copy finds is added to what that part finds.

    channels, dimensions, width: as of a `UNet`; the hint of a copy has so many channels. patch: how many places of the
    input, along each axis, one place of the hint stands for.
    """

    channels: int
    dimensions: int
    width: int
    patch: int = 1

    @abstractmethod
    def first_part(self) -> Self:
        """A copy of the first part, with weights of its own that are trained; only `features` is asked of it."""

    @abstractmethod
    def zero_layers(self) -> list[nn.Module]:
        """A new layer for each of the features of `first_part`, that keeps their shape and gives zeros at first."""

    @abstractmethod
    def features(
        self, x: Tensor, c_time: Tensor, hint: Tensor, label: Tensor | None = None, drop: Drop = None, **cond: Any
    ) -> list[Tensor]:
        """What the first part finds, in its own order, once the hint (batch, width, sizes / patch) is added to its
        input; of the others see `forward`.
        """

    @abstractmethod
    def steered(
        self,
        x: Tensor,
        c_time: Tensor,
        added: Sequence[Tensor],
        label: Tensor | None = None,
        drop: Drop = None,
        **cond: Any,
    ) -> Tensor:
        """`forward` with this added to what the first part finds, in the order of `features`."""


@torch.no_grad()
def own_copy(module: ModuleT, without: Collection[nn.Module] = ()) -> ModuleT:
    """A copy with weights of its own, which are trained; in the place of the parts in `without` it has none.

    Memory is taken as the context says, none on the device "meta".
    """
    memo: dict[int, Any] = {id(part): nn.Identity() for part in without}
    gone = {id(weight) for part in without for weight in (*part.parameters(), *part.buffers())}
    for weight in (weight for weight in (*module.parameters(), *module.buffers()) if id(weight) not in gone):
        fresh = torch.empty(weight.shape, dtype=weight.dtype)
        own = nn.Parameter(fresh, fresh.is_floating_point()) if isinstance(weight, nn.Parameter) else fresh
        own.copy_(weight)
        memo[id(weight)] = own
    return copy.deepcopy(module, memo)


def zeroed(layer: ModuleT) -> ModuleT:
    """The layer with all its weights 0."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer
