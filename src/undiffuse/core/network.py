"""What a network declares of itself, and what it may offer: features inside it, something to do after every step."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused, unknown
from undiffuse.core.families import VALUES


class Network(nn.Module):
    """A module that says what it can do; a `Predictor` takes any other module for one that says nothing.

    families: of processes whose states it takes, see `Process`. predicts: what it gives: "data" where a head makes a
    guess of the data of it, "label" where it is logits of classes.
    forms: of the conditions that it can be built for, see `ConditionKind`; those with any need the constructor's field
    `conditions`, the form "label" the field `classes`. masks: whether it leaves out the padding of items of different
    sizes, with a keyword `mask` of `forward`. half_pays: whether bfloat16 is faster where the device multiplies it;
    networks with convolutions need not say so. input_weights: those that read the sample's channels and, behind them,
    those of images beside it, along their second axis. reads_time: whether what it gives depends on c_time.
    """

    families: ClassVar[frozenset[str]] = VALUES
    predicts: ClassVar[str] = "data"
    forms: ClassVar[tuple[str, ...]] = ()
    masks: ClassVar[bool] = False
    half_pays: ClassVar[bool] = False
    input_weights: ClassVar[tuple[str, ...]] = ()

    reads_time: bool = True

    def in_diffusers(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors with the names of these weights, by the names in diffusers' model of this network; {}: there is none.

        Only rows are taken apart: the first axis is that of the outputs.
        """
        return {}


def declared(network: type[nn.Module]) -> type[Network]:
    """The class of a network, with what it declares; `Network` itself for a module that declares nothing."""
    return network if issubclass(network, Network) else Network


def reads_time(network: nn.Module) -> bool:
    """Whether what the network gives depends on the time."""
    return network.reads_time if isinstance(network, Network) else Network.reads_time


def inputs_of(module: nn.Module) -> set[str]:
    """The names of all weights in a module that networks declare as `input_weights`."""
    parts = cast("Any", module).named_modules()  # whose type is partly unknown
    networks = {name: part for name, part in parts if isinstance(part, Network)}
    return {f"{name}.{each}".removeprefix(".") for name, part in networks.items() for each in part.input_weights}


class AfterStep(ABC):
    """A layer, or a whole network, that changes itself after every step of its optimiser.

    Training calls it for every module with weights that take the step, without gradients.
    """

    @abstractmethod
    def after_step(self) -> None:
        """Change the weights, in place."""


@torch.no_grad()
def after_step(modules: Iterable[nn.Module]) -> None:
    """Let all layers of these modules do what they have to do after a step."""
    for part in dict.fromkeys(part for each in modules for part in each.modules()):
        if issubclass(type(part), AfterStep):
            cast("AfterStep", part).after_step()


@dataclass(frozen=True, eq=False)
class Depth:
    """A place in a network where features can be read: the output of a module, `width` numbers at each place.

    The output is (batch, width, one size an axis), or with `channels_last` (batch, places, width); one place where it
    is (batch, width).
    """

    module: nn.Module
    width: int
    channels_last: bool = False


class HasDepths(ABC):
    """A network whose features can be read."""

    @abstractmethod
    def depths(self) -> Mapping[str, Depth]:
        """The depths by name, from the input to the output."""


def depth(network: nn.Module, name: str, owner: str) -> Depth:
    """The depth of this name; raises Refused, in the owner's name, for a network that has none, and for another name.

    owner: for people, as "the teacher's".
    """
    if not issubclass(type(network), HasDepths):
        raise Refused(
            f"{owner} network, {type(network).__name__}, has no features to read: take unet, edm2_unet or dit"
        )
    known = cast("HasDepths", network).depths()
    if name not in known:
        raise unknown(f"{owner} network", name, known)
    return known[name]


@contextmanager
def features(at: Depth) -> Generator[list[Tensor]]:
    """Inside, every call of the network appends its features at a depth to this list: (batch, places, width)."""
    seen: list[Tensor] = []
    hook = at.module.register_forward_hook(partial(_keep, seen, at.channels_last))
    try:
        yield seen
    finally:
        hook.remove()


def _keep(seen: list[Tensor], channels_last: bool, module: nn.Module, given: object, output: Tensor) -> None:
    places = output.unsqueeze(-2 if channels_last else -1) if output.ndim == 2 else output
    seen.append(places if channels_last else places.flatten(2).mT)
