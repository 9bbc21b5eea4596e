"""What a network sees at several depths: the interface, and how any network is asked for it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from undiffuse.core.errors import Refused


class FeatureNetwork(nn.Module, ABC):
    """Sees encoded data at several depths; gradients pass to the data.

    pixels: it was trained on pictures, so that the data must be pixels in [-1, 1].
    """

    pixels: bool = False

    @abstractmethod
    def layers(self, x: Tensor) -> list[Tensor]:
        """What it makes of x (batch, channels, *places), first to last: (batch, width, *places) each."""


def by_depth(network: nn.Module, call: Callable[[], Any], x: Tensor) -> list[Tensor]:
    """What modules of a network give of x (batch, channels, *places) while `call` calls it: of each size of the places
    on the way down the last that has it, (batch, width, *places) each.

    Raises Refused for a network whose modules give no such tensors.
    """
    found: list[Tensor] = []
    risen = False

    def note(module: nn.Module, given: Any, made: Any) -> None:
        nonlocal risen
        if risen or not isinstance(made, Tensor) or made.ndim != x.ndim or len(made) != len(x) or x.ndim < 3:
            return
        last = found[-1].shape[2:] if found else x.shape[2:]
        if made.shape[2:].numel() > last.numel():
            risen = True
        elif found and made.shape[2:] == last:
            found[-1] = made
        else:
            found.append(made)

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise Refused(
            f"{type(network).__name__} keeps no places of items of shape {tuple(x.shape[1:])} apart, so that it shows "
            "nothing at several depths: take a network of convolutions, such as the encoder of a classifier"
        )
    return found
