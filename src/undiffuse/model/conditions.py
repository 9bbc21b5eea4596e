"""What a model is told: conditions as a person gives them, turned into tensors, and guidance towards them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused, unknown
from undiffuse.guidance.classifier_free import ClassifierFree
from undiffuse.guidance.optimal_variance import OptimalVariance
from undiffuse.model import parts
from undiffuse.model.settings import Condition
from undiffuse.model.text import encode
from undiffuse.model.told import tensor
from undiffuse.networks.conditions import MODES, scaled

if TYPE_CHECKING:
    from undiffuse.model.model import Model


def requested(model: "Model", n: int, cond: Mapping[str, Any]) -> dict[str, Tensor]:
    """The conditions of n samples, each a tensor (n, ...) on the model's device; those given as None are left out.

    Raises Refused for a condition that the model was not trained with, for one that it cannot do without, and for
    unknown classes and values of another shape.
    """
    given: dict[str, Tensor] = {}
    for name, value in cond.items():
        if value is None:
            continue
        if not model.conditions:
            raise Refused(
                f"the model is unconditional: it was trained without {name!r} (its recipe has no [conditions.{name}])"
            )
        if name not in model.conditions:
            raise unknown("the model's conditions", name, model.conditions)
        given[name] = _values(model, name, value, n).to(model.device)
    for name, condition in model.conditions.items():
        if name not in given and condition.drop == 0:
            raise Refused(f"the model needs {name!r}: it was trained with it always there (conditions.{name}.drop = 0)")
    return given


def numbers(value: Any, n: int, classes: Sequence[str], name: str) -> list[int]:
    """n class numbers from one class or from n of them, each given as a number or a name; names go first.

    Raises Refused for another count and for classes that there are not.
    """
    values = value.tolist() if hasattr(value, "tolist") else value
    values = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else [values] * n
    if len(values) != n:
        raise Refused(f"{n} samples need one {name} or {n}, not {len(values)}")
    known: dict[Any, int] = {str(i): i for i in range(len(classes))} | {text: i for i, text in enumerate(classes)}
    known |= {i: i for i in range(len(classes))}
    wrong = [v for v in values if isinstance(v, bool | float) or v not in known]
    if wrong:
        shown = ", ".join(classes[:12]) + (" ..." if len(classes) > 12 else "")
        raise Refused(f"{name} {wrong[0]} is not one of the model's {len(classes)} classes: {shown}")
    return [known[v] for v in values]


def _values(model: "Model", name: str, value: Any, n: int) -> Tensor:
    """n values of a condition from one or from n of them, (n, ...)."""
    condition = model.conditions[name]
    return READ[condition.kind](model, name, condition, value, n)


def _label(model: "Model", name: str, condition: Condition, value: Any, n: int) -> Tensor:
    return torch.tensor(numbers(value, n, model.classes, name))


def _text(model: "Model", name: str, condition: Condition, value: Any, n: int) -> Tensor:
    texts = [value] if isinstance(value, str) else [str(text) for text in value]
    return _each(encode(texts, condition), n, name)


def _vector(model: "Model", name: str, condition: Condition, value: Any, n: int) -> Tensor:
    rows = torch.from_numpy(np.array(value, np.float32))
    rows = rows if rows.ndim > 1 else rows.reshape(1, -1)
    if tuple(rows.shape[1:]) != condition.shape:
        raise Refused(f"{name} has {condition.shape[0]} numbers, and given are {rows[0].numel()}")
    return _each(rows, n, name)


def _image(model: "Model", name: str, condition: Condition, value: Any, n: int) -> Tensor:
    """Integers are scaled, and all is brought to the size that the condition had in training."""
    images = scaled(tensor(np.array(value)))
    axes, (channels, *sides) = len(condition.shape), condition.shape
    images = images[None] if images.ndim == axes - 1 else images  # a grey image without its one channel
    images = images[None] if images.ndim == axes else images
    if images.ndim != axes + 1 or images.shape[1] != channels:
        raise Refused(f"{name} is an image of shape {condition.shape}, of any size; given is {np.shape(value)}")
    if list(images.shape[2:]) != sides:
        smooth = {"align_corners": False, "antialias": True} if axes == 3 else {"align_corners": False}
        images = F.interpolate(images.float(), sides, mode=MODES[axes - 1], **smooth)
    return _each(images.float(), n, name)


READ: dict[str, Callable[["Model", str, Condition, Any, int], Tensor]] = {
    "label": _label,
    "text": _text,
    "vector": _vector,
    "image": _image,
}


def _each(values: Tensor, n: int, name: str) -> Tensor:
    """n values from one or n; raises Refused for another count."""
    if len(values) not in (1, n):
        raise Refused(f"{n} samples need one {name} or {n}, not {len(values)}")
    return values.expand(n, *values.shape[1:])


def guide(model: "Model", weight: float | Mapping[str, float] | None, given: Mapping[str, Tensor]) -> Denoiser:
    """The model's denoiser, guided with this weight, or with the recipe's where there is a condition to guide to.

    weight: one for all conditions that were ever hidden, or one for each by its name. Raises Refused without a
    condition, for names of none, and for conditions that the model never saw hidden.
    """
    model.denoiser.eval()
    hidden = [name for name, condition in model.conditions.items() if condition.drop > 0]
    if isinstance(weight, Mapping):
        for name in weight:
            if name not in model.conditions:
                raise unknown("the model's conditions", name, model.conditions)
            _refuse_unguided(f"guidance of {name!r}", [name], hidden, given)
        return spread(model, ClassifierFree(model.denoiser, weight=dict(weight)))
    to = [name for name in given if name in hidden]
    asked = weight if weight is not None else parts.sampling(model.recipe).guidance if to else None
    if asked is None or asked == 1:
        return spread(model, model.denoiser)
    if not model.conditions:
        raise Refused(f"guidance = {asked:g} needs a condition, and the model is unconditional")
    _refuse_unguided(f"guidance = {asked:g}", list(model.conditions), hidden, given)
    hide = None if len(hidden) == len(model.conditions) else tuple(hidden)
    return spread(model, ClassifierFree(model.denoiser, weight=float(asked), hide=hide))


def _refuse_unguided(what: str, names: Sequence[str], hidden: Sequence[str], given: Mapping[str, Tensor]) -> None:
    """Raises Refused unless one of these conditions was now and then hidden in training, and is given."""
    able = [name for name in names if name in hidden]
    if not able:
        raise Refused(
            f"{what} needs a model that was trained with its condition hidden now and then "
            f"(conditions.{names[0]}.drop is 0)"
        )
    if not any(name in given for name in able):
        raise Refused(f"{what} needs {able[0]!r}: what to guide to")


def spread(model: "Model", denoiser: Denoiser) -> Denoiser:
    """The denoiser with the variance that was tuned for the model, if one was."""
    return OptimalVariance(denoiser, **model.variance) if model.variance else denoiser
