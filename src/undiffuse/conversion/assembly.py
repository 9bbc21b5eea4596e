"""A run made of tables, conditions, a codec and weights that come from elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.recipes.description import Description
from undiffuse.sampling.run import Run
from undiffuse.storage.files import fit

TRAIN = {"steps": 1000, "batch": 16, "lr": 1e-5, "warmup": 100, "held_out": 0.1, "checkpoint_every": 250}


def assemble(
    said: Description, weights: Mapping[str, Tensor] | Callable[[Any], Mapping[str, Tensor]], what: str
) -> Run:
    """The run of this description with these weights, by their names in its module; raises Refused where they differ.

    weights: or what makes them of the module, whose own have no memory yet. what: where they come from, for people. The
    dtype of weights does not matter: a run has float32, and weights in float32 become its own without a copy. Buffers
    that are not among them are as they are built.
    """
    kind: type[Run] = registry.get("models", said.recipe.kind)
    module = kind.sketch(said)
    plan = module.state_dict()
    given = weights(module) if callable(weights) else weights
    built = _buffers(kind, said, [name for name, _ in module.named_buffers() if name not in given])
    found = {**{name: each for name, each in built.items() if name in plan}, **given}
    fit({name: like(tensor, plan.get(name, tensor)) for name, tensor in found.items()}, plan, what)
    module.load_state_dict({name: found[name].to(wanted.dtype) for name, wanted in plan.items()}, assign=True)
    for name, tensor in built.items():  # those that no file holds, too
        owner, _, own = name.rpartition(".")
        setattr(module.get_submodule(owner), own, tensor)
    return kind.of(module.eval().requires_grad_(False), said)


def _buffers(kind: type[Run], said: Description, names: Sequence[str]) -> dict[str, Tensor]:
    """The buffers of these names as they are built."""
    if not names:
        return {}
    built = dict(kind.unwritten(said).named_buffers())
    return {name: built[name] for name in names}


def like(tensor: Tensor, wanted: Tensor) -> Tensor:
    """The tensor without memory, in the dtype that is wanted if both are floats."""
    floats = tensor.is_floating_point() and wanted.is_floating_point()
    return torch.empty(tensor.shape, dtype=wanted.dtype if floats else tensor.dtype, device="meta")


def images_of(shape: Sequence[int]) -> dict[str, Any]:
    """The table [data] of a folder of images (channels, height, width)."""
    channels, *sides = shape
    return {"name": "folder", "path": "images", "size": sides, "channels": channels}


def sides_of(config: Mapping[str, Any], folder: Path, place: str) -> tuple[int, int]:
    """Height and width in the config of a part of a folder; raises Refused where it does not say them."""
    if not (found := config.get("sample_size")):
        raise Refused(f"{folder}: {Path(place, 'config.json')} does not say its sample_size")
    return (found, found) if isinstance(found, int) else (found[0], found[1])


def differing(kind: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """A component's table without the fields that are as its constructor leaves them."""
    known = registry.fields(registry.get(kind, str(table["name"])))
    return {name: value for name, value in table.items() if name == "name" or value != known[name].default}


def part(component: Any, interface: type, name: str, what: str) -> Any:
    """The component, which is of this class; raises Refused for any other. name: of its table; what: it is for."""
    if not issubclass(type(component), interface):
        raise Refused(f"{name} is {registry.name_of(component)!r}: {what}")
    return component
