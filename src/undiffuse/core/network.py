"""What a network declares of itself: what it takes, what it gives and what it is for."""

from typing import ClassVar

from torch import nn

from undiffuse.core.families import VALUES


class Network(nn.Module):
    """A module that says what it can do; a `Predictor` takes any other module for one that says nothing.

    families: of processes whose states it takes, see `Process`. predicts: what it gives: "data" where a head makes a
    guess of the data of it, "label" where it is logits of classes.
    forms: of the conditions that it can be built for, see `ConditionKind`; those with any need the constructor's field
    `conditions`, the form "label" the field `classes`. masks: whether it leaves out the padding of items of different
    sizes, with a keyword `mask` of `forward`. half_pays: whether bfloat16 is faster where the device multiplies it;
    networks with convolutions need not say so. reads_time: whether what it gives depends on c_time.
    """

    families: ClassVar[frozenset[str]] = VALUES
    predicts: ClassVar[str] = "data"
    forms: ClassVar[tuple[str, ...]] = ()
    masks: ClassVar[bool] = False
    half_pays: ClassVar[bool] = False

    reads_time: bool = True


def declared(network: type[nn.Module]) -> type[Network]:
    """The class of a network, with what it declares; `Network` itself for a module that declares nothing."""
    return network if issubclass(network, Network) else Network


def reads_time(network: nn.Module) -> bool:
    """Whether what the network gives depends on the time."""
    return network.reads_time if isinstance(network, Network) else Network.reads_time
