"""Several named parts at once: one network whose output has a part for each, and a head for each of these."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from undiffuse.core.distribution.joint import Joint
from undiffuse.core.errors import Refused
from undiffuse.core.heads.head import Belief, Head
from undiffuse.core.heads.rows import Rows
from undiffuse.core.process.product import Product


class PartsHead(nn.Module, Head):
    """The head of a `Product`: the network is shown a dictionary of the parts as their heads show them, and returns a
    dictionary with an output for each; the guess is a `Joint` of theirs. c_time is that of the first part.

    heads: one for each part, by name. rows: how encoded data that are one tensor hold the parts, as a table's do; None:
    data are dictionaries themselves.
    Raises Refused for other names than the process's parts, and for a network that returns others.
    """

    family: ClassVar[str] = "mixed"

    def __init__(self, heads: Mapping[str, Head], rows: Rows | None = None) -> None:
        super().__init__()
        self.heads = dict(heads)
        self.rows = rows
        for name, head in heads.items():  # a head with weights of its own registers them here
            setattr(self, f"{name}_head", head)

    def check(self, process: Product) -> None:
        if set(self.heads) != set(process.parts):
            raise Refused(f"a product of {_listed(process.parts)} needs a head for each, not for {_listed(self.heads)}")
        for name, part in process.parts.items():
            self.heads[name].check(part)

    def open(self, process: Product, x_t: Mapping[str, Any], t: Tensor) -> tuple[dict[str, Any], Tensor, Belief]:
        if set(x_t) != set(process.parts):
            raise Refused(f"the batch has {_listed(x_t)}, and the process is a product of {_listed(process.parts)}")
        opened = {name: self.heads[name].open(part, x_t[name], t) for name, part in process.parts.items()}
        shown = {name: each for name, (each, _, _) in opened.items()}
        makes = {name: make for name, (_, _, make) in opened.items()}
        return shown, next(iter(opened.values()))[1], lambda output: _joint(output, makes)

    def state_shape(self, shape: Any) -> Any:
        return shape if self.rows is None else self.rows.shapes(shape[0])

    def state_of(self, x_0: Any) -> Any:
        return x_0 if self.rows is None else self.rows.cut(x_0)

    def data_of(self, x: Any) -> Any:
        return x if self.rows is None else self.rows.joined(x)

    def no_density(self) -> str:
        return next((why for head in self.heads.values() if (why := head.no_density())), "")


def _joint(output: Mapping[str, Any], makes: Mapping[str, Belief]) -> Joint:
    """What the network gives of each part, as one belief."""
    if set(output) != set(makes):
        raise Refused(f"the network gives {_listed(output)}, and the parts are {_listed(makes)}")
    return Joint({name: make(output[name]) for name, make in makes.items()})


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "no part"
