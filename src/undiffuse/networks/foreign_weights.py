"""A network made for weights of another program, which take the place of its own without a copy."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.storage.blueprint import Unwritten

Module = TypeVar("Module", bound=nn.Module)


def unwritten(build: Callable[[], Module]) -> Module:
    """The network that `build` makes, without its first weights: its memory is taken, and nothing written to it."""
    with torch.random.fork_rng(devices=[]), Unwritten():
        return build()


def holding(network: Module, weights: Mapping[str, Tensor], what: str) -> Module:
    """The network with these weights in place of its own, in their dtype and in evaluation mode.

    Buffers that are not among the weights stay as they are. what: the beginning of a message. Raises Refused, with both
    shapes, for a weight that is missing, too many or of another shape.
    """
    wanted, buffers = network.state_dict(), dict(network.named_buffers())
    for name in sorted((wanted.keys() - buffers.keys()) | weights.keys()):
        have, want = (tuple(w[name].shape) if name in w else "nothing" for w in (weights, wanted))
        if have != want:
            raise Refused(f"{what}: {name} is {have} and should be {want}")
    network.load_state_dict({**wanted, **weights}, assign=True)
    return network.to(next(iter(weights.values())).dtype).eval()
