"""Several named parts at once: values and tokens, each with its own process, on one clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.joint import Joint
from undiffuse.core.errors import Refused
from undiffuse.core.process.process import Process
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True)
class Product(Process):
    """Independent noise on each part: q(x_t given x_0) = prod q_i(x_t^i given x_0^i).
    A batch is a dictionary of the parts' batches.

    The default grid of times follows the first part's schedule. Raises Refused without parts.
    """

    family: ClassVar[str] = "mixed"
    parts: Mapping[str, Process]

    def __post_init__(self) -> None:
        if not self.parts:
            raise Refused("a product needs at least one named part")

    @property
    def keeps(self) -> bool:  # type: ignore[override]
        """Whether all parts have a `keep`."""
        return all(part.keeps for part in self.parts.values())

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        return next(iter(self.parts.values())).schedule

    def point(self, x_0: Mapping[str, Any]) -> Joint:
        return Joint({name: part.point(x_0[name]) for name, part in self.parts.items()})

    def prior(self, shape: Mapping[str, Any], t: Tensor | float = 1.0) -> Joint:
        return Joint({name: part.prior(shape[name], t) for name, part in self.parts.items()})

    def marginal(self, x_0: Mapping[str, Any], t: Tensor | float) -> Joint:
        return Joint({name: part.marginal(x_0[name], t) for name, part in self.parts.items()})

    def bridge(
        self, x_t: Mapping[str, Any], x_0: Distribution, s: Tensor | float, t: Tensor | float, keep: Any = None
    ) -> Joint:
        """Each part's bridge; x_0 is a Joint with the same names; keep is one for all parts, or a dictionary."""
        guess: Mapping[str, Distribution] = x_0.parts  # type: ignore[attr-defined]
        kept: Mapping[str, Any] = keep if isinstance(keep, Mapping) else dict.fromkeys(self.parts, keep)  # pyright: ignore[reportUnknownVariableType]
        return Joint({name: part.bridge(x_t[name], guess[name], s, t, kept[name]) for name, part in self.parts.items()})

    def shown(self, x_t: Mapping[str, Any], t: Tensor | float) -> dict[str, Any]:
        """Each part as bright as data."""
        return {name: part.shown(x_t[name], t) for name, part in self.parts.items()}

    def keep(self, s: Tensor | float, t: Tensor | float, like: Mapping[str, Any], eta: float = 0.0) -> Any:
        """Each part's keep, in a dictionary."""
        return {name: part.keep(s, t, like[name], eta) for name, part in self.parts.items()}


def apart(process: Any, *given: Any) -> list[tuple[Any, ...]]:
    """The parts of a `Product`, each with its own of the given batches and beliefs; else all as it is."""
    if process.family != "mixed":
        return [(process, *given)]
    return [(part, *(some[name] for some in given)) for name, part in process.parts.items()]


def masks(process: Any, mask: Any) -> Any:
    """A mask for each part of a `Product`, the same for all where one is given; else the mask itself."""
    if process.family != "mixed" or issubclass(type(mask), Mapping):
        return mask
    return dict.fromkeys(process.parts, mask)
