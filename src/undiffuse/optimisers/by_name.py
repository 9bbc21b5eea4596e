"""An optimiser by its name: a component, or any optimiser of torch.optim."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from undiffuse.core import registry
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.optimiser import Optimiser

UNFIT = ("LBFGS", "SparseAdam", "Optimizer")  # these need more than a gradient of every weight


@dataclass(frozen=True)
class OfTorch(Optimiser):
    """An optimiser of torch.optim with these options."""

    name: str
    options: Mapping[str, Any]

    def over(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        try:
            return torch_optimisers()[self.name](parameters, lr=lr, **self.options)
        except (ValueError, TypeError, RuntimeError) as error:
            raise Refused(f"optimiser {self.name!r}: {error}") from error


def torch_optimisers() -> dict[str, Any]:
    """The classes of torch.optim by name, in small letters, but for those that need more than a gradient."""
    found = {name: each for name, each in vars(torch.optim).items() if inspect.isclass(each) and name not in UNFIT}
    return {name.lower(): each for name, each in found.items()}


def optimiser(table: Mapping[str, Any]) -> Optimiser:
    """The optimiser that a recipe's table describes: `name`, and its fields without the learning rate.

    Raises Refused for an unknown name or field, naming the nearest, and for a wrong type.
    """
    name = str(table.get("name", "adamw"))
    own, others = registry.names("optimisers"), torch_optimisers()
    if name in own or name.lower() not in others:
        if name not in own:
            raise unknown("optimisers", name, sorted({*own, *others}))
        return registry.build("optimisers", {"name": name, **table})
    options = {key: value for key, value in table.items() if key != "name"}
    if "lr" in options:
        raise Refused("the learning rate stands in [train]: write train.lr, not optimiser.lr")
    checked = registry.check(others[name.lower()], options, owner=f"optimiser {name!r}")
    made = OfTorch(name.lower(), checked)
    made.over([nn.Parameter(torch.zeros(1, dtype=torch.float32))], 1e-3)  # so that values out of range show now
    return made
