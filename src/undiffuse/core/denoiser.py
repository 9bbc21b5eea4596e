"""What guesses the data behind a noisy batch: the interface, and what holds a trained network."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core import registry
from undiffuse.core.distribution.distribution import Distribution, unpadded
from undiffuse.core.errors import Refused
from undiffuse.core.families import ANY
from undiffuse.core.heads.head import Head
from undiffuse.core.heads.parts import PartsHead
from undiffuse.core.heads.token_outputs import TokenHead
from undiffuse.core.jumps import NO_DENSITY, Jumps, told, undropped
from undiffuse.core.named_parts import each, first
from undiffuse.core.network import declared, reads_time
from undiffuse.core.process.process import Process
from undiffuse.core.schedule import as_time


class Denoiser(ABC):
    """p(x_0 given x_t, cond): trained networks, guided ones and exact oracles all look like this.

    symbols: how many of the process's tokens are data, the first ones, where that is known. timeless: whether the guess
    depends on x_t alone. bound_variance: the variance of a reverse step that its own bound takes, see `reverse`.
    families, needs: of guidance, what processes it is for, see `families.check`.
    embeddings: the `EmbeddingHead` whose values stand for tokens, where there is one.
    jumps: what a call may be told to land on: "none", nothing: the guess is the mean of the data; "data": a consistency
    function, whose guess is where the path ends; "fixed": the next time of one grid of times; "any": a flow map.
    jump_times: that one grid, falling to 0; () where it is not known. guidance_input: the range of `guidance`, the
    weight that training guided with, which each call takes; None: no call does.
    """

    families: ClassVar[frozenset[str]] = ANY
    needs: ClassVar[frozenset[str]] = frozenset()

    process: Process
    symbols: int | None = None
    timeless: bool = False
    bound_variance: str = "posterior"
    embeddings: Any = None
    jumps: str = "none"
    jump_times: tuple[float, ...] = ()
    guidance_input: tuple[float, float] | None = None

    @property
    def device(self) -> torch.device | None:
        """Where the weights are; None without any, when it is where its input is."""
        return None

    @property
    def predictor(self) -> "Predictor | None":
        """The trained network that is asked, where there is one."""
        return None

    @abstractmethod
    def __call__(self, x_t: Any, t: Tensor | float, *, to: Tensor | float | None = None, **cond: Any) -> Distribution:
        """The guess for a batch x_t (batch, *shape) at the time t, () or (batch,).

        to: where the step goes, () or (batch,): the guess whose deterministic bridge, keep = sigma_s / sigma_t, lands
        on the right x_s for s = to; None, or t itself: the ordinary guess. For what `jumps` allows, else refused.
        cond: keyword tensors (batch, ...), one a condition. One left out, or dropped for the samples where `drop` is
        true, is the null condition. drop: booleans (batch,) for all conditions, or a mapping from names to such.
        """

    def no_density(self) -> str:
        """Why no probability density belongs to these guesses; "" where one does."""
        return ""

    def state_shape(self, shape: Any) -> Any:
        """The shape of the states of encoded data of this shape, (batch, *shape); of named parts a dictionary."""
        return shape

    def state_of(self, x_0: Any) -> Any:
        """The state that encoded data are without noise, (batch, *state_shape)."""
        return x_0

    def data_of(self, x: Any) -> Any:
        """The encoded data that a state without noise stands for."""
        return x


class Predictor(nn.Module, Denoiser):
    """A network, and the head that makes its output a guess:  p(x_0 given x_t) = head(network(x_t, c_time)).

    network: called as network(x, c_time, **cond) with x (batch, *shape) and c_time (batch,) float32; it works in its
    own dtype, the guess has x_t's. What it returns is the head's: of a parameterization x's shape.
    process: how the data are destroyed. head: a Head, such as a Parameterization, or its name: for values that of a
    parameterization ("noise", "data", "velocity", "score", "flow", "edm", "consistency"), for tokens that of an output
    ("probabilities", "subs", "plug_in", "logistic", "ratios"). For a `Product` it is a dictionary with a head for each
    part; the network takes a dictionary of the parts' x then, and returns one.
    jumps, jump_times: what it was trained to land on, see `Denoiser`; a network that jumps to any time reads the pair
    (t, to) as a condition "to", see `jumps.pair_features`, and with guidance_input the weight as a condition
    "guidance".
    mask: of a call, booleans that say which elements of items of different sizes are data, see `Masked`; the network is
    shown 0 in place of padding and gets the mask as a keyword. What the guess says of padding means nothing.
    Raises Refused for a head of another family than the process's, where either refuses the other, for a mask where
    the network declares none, see `Network`, and for jumps of anything but values.
    """

    def __init__(
        self,
        network: nn.Module,
        process: Process,
        head: Head | str | Mapping[str, Head | str],
        jumps: Jumps = "none",
        guidance_input: tuple[float, float] | None = None,
        jump_times: tuple[float, ...] = (),
    ) -> None:
        super().__init__()
        self.head = resolve(head, process)
        if jumps != "none" and process.family != "values":
            raise Refused(f"jumps = {jumps!r} is for values, and {type(process).__name__} is {process.family}")
        self.jumps, self.guidance_input, self.jump_times = jumps, guidance_input, jump_times
        self.network = network
        self.process = process

    def forward(
        self,
        x_t: Any,
        t: Tensor | float,
        *,
        to: Tensor | float | None = None,
        guidance: Tensor | float | None = None,
        mask: Any = None,
        **cond: Any,
    ) -> Any:
        t = as_time(t)
        if found := told(self, first(x_t), t, to, guidance):
            cond = undropped(cond, found)
        if mask is not None:
            _check_mask(self.network)
            x_t, cond = unpadded(x_t, mask), {**cond, "mask": mask}
        shown, c_time, belief = self.head.open(self.process, x_t, t)
        dtype = next((p.dtype for p in self.network.parameters()), None)
        return belief(self.network(_cast(shown, dtype), c_time, **cond))

    @property
    def device(self) -> torch.device | None:
        return next((weight.device for weight in self.parameters()), None)

    @property
    def predictor(self) -> "Predictor":
        return self

    @property
    def symbols(self) -> int | None:  # type: ignore[override]
        return self.head.data_symbols(self.process)

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        return self.head.timeless(self.process) and not reads_time(self.network)

    @property
    def bound_variance(self) -> str:  # type: ignore[override]
        return self.head.bound_variance

    @property
    def embeddings(self) -> Any:  # type: ignore[override]
        return self.head.embeddings

    def no_density(self) -> str:
        return self.head.no_density() or NO_DENSITY[self.jumps]

    def state_shape(self, shape: Any) -> Any:
        return self.head.state_shape(shape)

    def state_of(self, x_0: Any) -> Any:
        return self.head.state_of(x_0)

    def data_of(self, x: Any) -> Any:
        return self.head.data_of(x)

    __call__ = nn.Module.__call__


def resolve(head: Head | str | Mapping[str, Any], process: Any) -> Head:
    """The head of a process; a name is that of a parameterization, or of an output of tokens."""
    if isinstance(head, str):
        if process.family not in NAMED:
            parts = ", ".join(f"{name!r}: ..." for name in process.parts)
            raise Refused(f"a product needs a head for each of its parts: {{{parts}}}, not {head!r}")
        found: Head = NAMED[process.family](head)
    elif isinstance(head, Mapping):
        if process.family != "mixed":
            raise Refused(f"heads by name are for a Product of such parts; this process is one of {process.family}")
        found = PartsHead({name: resolve(each, process.parts.get(name)) for name, each in head.items()})
    else:
        found = head
    if found.family != process.family:
        raise Refused(
            f"{type(found).__name__} is a head for {found.family}, and {type(process).__name__} is {process.family}"
        )
    found.check(process)
    return found


NAMED: dict[str, Callable[[str], Head]] = {
    "values": lambda name: registry.get("parameterizations", name)(),
    "tokens": TokenHead,
}


def _check_mask(network: nn.Module) -> None:
    if not declared(type(network)).masks:
        raise Refused(
            f"items of different sizes need a `Network` that leaves padding out, with masks = True, as transformer "
            f"and sequence_transformer are; {type(network).__name__} is none"
        )


def _cast(x: Any, dtype: torch.dtype | None) -> Any:
    """The floating-point numbers of a batch in the network's dtype; None: a network without weights takes them all."""
    return x if dtype is None else each(lambda part: part.to(dtype) if part.is_floating_point() else part, x)
