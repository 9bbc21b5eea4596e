"""The weights that training starts from: those of another run, or those that an objective has."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused, some
from undiffuse.core.objective import Objective
from undiffuse.networks.lora import adapted
from undiffuse.progress import LOGGER
from undiffuse.storage.files import fit

SHOWN = 8  # names in a message


def begin(module: nn.Module, objective: Objective, steps: int) -> None:
    """Let an objective begin a training of so many steps, on the weights that it starts from.

    Layers that only the module has keep their own weights, and a LoRA those of its base. Raises Refused, naming a
    tensor, where others do not fit.
    """
    if (start := objective.initial()) is not None and not adapted(module):
        weights, own = start.state_dict(), module.state_dict()
        fitting = fit(weights, {name: own[name] for name in own if name in weights}, "the objective's start")
        module.load_state_dict({**own, **fitting})
    objective.begin(module, steps)


@torch.no_grad()
def take_over(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    what: str,
    classes: tuple[Sequence[str], Sequence[str]] = ((), ()),
    by_class: Mapping[str, int] | None = None,
    inputs: Collection[str] = (),
) -> None:
    """Copy the weights of the same names into a module, and say by name what is new and what is dropped.

    classes: those of the module and those of the weights. by_class: the tensors with one slice a class, and along which
    axis; a class of both keeps its slice. inputs: the tensors that may have more inputs here, which are 0 at first.
    Raises Refused, with both shapes, where the same name has another shape, and where nothing fits.
    """
    mine, theirs = classes
    own = module.state_dict()
    new = [name for name in own if name not in weights]
    if len(new) == len(own):
        raise Refused(f"{what} holds none of the weights that are trained here, such as {new[0]!r}")
    wider = [name for name in inputs if name in weights and _wider(own[name], weights[name])]
    for name in wider:
        own[name].zero_()[:, : weights[name].shape[1]].copy_(weights[name])
    for name in (name for name in own if name in weights and name not in wider):
        axis = (by_class or {}).get(name)
        if _shape(own[name], axis) != _shape(weights[name], axis):
            raise Refused(
                f"{what}: {name!r} has the shape {tuple(weights[name].shape)}, and here it is "
                f"{tuple(own[name].shape)}: fine-tuning keeps the network"
            )
        if axis is None:
            own[name].copy_(weights[name])
            continue
        for i, j in ((i, theirs.index(label)) for i, label in enumerate(mine) if label in theirs):
            own[name].select(axis, i).copy_(weights[name].select(axis, j))
    changes = {
        "new weights": new,
        "new inputs": wider,
        "dropped weights": [name for name in weights if name not in own],
        "new classes": [label for label in mine if label not in theirs],
        "dropped classes": [label for label in theirs if label not in mine],
    }
    said = "; ".join(f"{title}: {some(names, SHOWN)}" for title, names in changes.items() if names)
    LOGGER.info("%s: %s", what, said or "all of its weights are taken over")


def grown(few: Tensor, more: Tensor) -> int:
    """The axis along which one tensor is longer than the other."""
    return next(i for i, (a, b) in enumerate(zip(few.shape, more.shape, strict=True)) if a != b)


def _wider(own: Tensor, before: Tensor) -> bool:
    """Whether a weight has more inputs, and is else of the same shape."""
    return _shape(own, 1) == _shape(before, 1) and own.shape[1] > before.shape[1]


def _shape(tensor: Tensor, axis: int | None) -> tuple[int, ...]:
    return tuple(side for i, side in enumerate(tensor.shape) if i != axis)
