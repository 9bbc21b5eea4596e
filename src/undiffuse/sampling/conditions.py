"""What a model is told: conditions as a person gives them, turned into tensors, and guidance towards them."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.conditions.captions import Captions
from undiffuse.conditions.declared import ASKED, pictured, standardised
from undiffuse.core import arguments
from undiffuse.core.arguments import shown
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused, near, unknown
from undiffuse.guidance.clamp import Clamp
from undiffuse.guidance.classifier_free import ClassifierFree
from undiffuse.guidance.optimal_variance import OptimalVariance
from undiffuse.guidance.threshold import Threshold
from undiffuse.guidance.truncation import Truncation
from undiffuse.networks.conditions import MODES, scaled
from undiffuse.recipes.settings import Condition
from undiffuse.sampling.plan import sampling
from undiffuse.sampling.steering import Steering, bounds, level, percentile, refuse_unfit

if TYPE_CHECKING:
    from undiffuse.models.diffusion import Model

NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]+")  # what a class may be called


def requested(model: "Model", n: int, cond: Mapping[str, Any]) -> dict[str, Tensor]:
    """The conditions of n samples, each a tensor (n, ...) on the model's device; those given as None are left out.

    Raises Refused for a condition that the model was not trained with, for one that it cannot do without, and for
    unknown classes and values of another shape.
    """
    given: dict[str, Tensor] = {}
    for name, value in cond.items():
        if value is None:
            continue
        if not model.conditions and name not in model.conditions and not near(name, ASKED):
            raise Refused(
                f"the model is unconditional: it was trained without {name!r} (its recipe has no [conditions.{name}])"
            )
        if name not in model.conditions:
            raise unknown("the model's conditions", name, model.conditions, ASKED)
        given[name] = _values(model, name, value, n).to(model.device)
    for name, condition in model.conditions.items():
        if name not in given and condition.drop == 0:
            raise Refused(f"the model needs {name!r}: it was trained with it always there (conditions.{name}.drop = 0)")
    return given


def numbers(value: Any, n: int, classes: Sequence[str], name: str) -> list[int]:
    """n places among the classes from one class or from n of them, by name: 1 is the class "1", as it is when typed.

    Only where no class is called by a number, a number is a place, counted from 0.
    Raises Refused for another count and for classes that there are not.
    """
    values: Any = value.tolist() if hasattr(value, "tolist") else value
    values = list(values) if isinstance(values, Sequence) and not isinstance(values, str | bytes) else [values] * n
    values = [v.item() if hasattr(v, "item") else v for v in values]  # a list of NumPy's numbers
    if any(isinstance(v, Sequence | Mapping | Set) and not isinstance(v, str | bytes) for v in values):
        raise Refused(f"{name} is one class, or {n} of them in a row, not {shown(value)}")
    if len(values) != n:
        raise Refused(f"{n} samples need one {name} or {n}, not {len(values)}")
    known = {normalize("NFC", text): i for i, text in enumerate(classes)}
    if not any(NUMBER.fullmatch(text) for text in classes):
        known = {str(i): i for i in range(len(classes))} | known
    words = [normalize("NFC", str(v)) if isinstance(v, str | int) else None for v in values]
    wrong = next((v for v, word in zip(values, words, strict=True) if word not in known), None)
    if None in words or wrong is not None:
        there = ", ".join(classes[:12]) + (" ..." if len(classes) > 12 else "")
        hint = near(wrong, classes) if isinstance(wrong, str) else ""
        raise Refused(f"{name} {wrong} is not one of the model's {len(classes)} classes{hint}: {there}")
    return [known[str(word)] for word in words]


def captions(conditions: Mapping[str, Condition], cond: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts that samples are told: one for all of them, or one of each; () for none."""
    for name, condition in conditions.items():
        if condition.kind == "text" and cond.get(name) is not None:
            value = cond[name]
            return (value,) if isinstance(value, str) else tuple(map(str, value))
    return ()


def _values(model: "Model", name: str, value: Any, n: int) -> Tensor:
    """n values of a condition from one or from n of them, (n, ...)."""
    condition = model.conditions[name]
    return READ[condition.kind](model, name, condition, value, n)


def _label(model: "Model", name: str, condition: Condition, value: Any, n: int) -> Tensor:
    return torch.tensor(numbers(value, n, model.classes, name), dtype=torch.int64)


def _text(model: "Model", name: str, condition: Condition, value: Any, n: int) -> Tensor:
    values = value.tolist() if isinstance(value, np.ndarray) else value
    texts = [values] if isinstance(values, str) or not isinstance(values, Sequence) else list(values)
    texts = [arguments.text(text, name) for text in texts]
    _refuse_count(len(texts), n, name)
    return _each(Captions.of(texts, condition)[torch.arange(len(texts))], n, name)


def _vector(model: "Model", name: str, condition: Condition, value: Any, n: int) -> Tensor:
    rows = arguments.array(value, name).astype(np.float32)
    rows = rows if rows.ndim > 1 else rows.reshape(1, -1)
    if rows.shape[1:] != condition.shape:
        given = rows.shape[1] if rows.ndim == 2 else f"an array of shape {rows.shape}"
        raise Refused(f"{name} has {condition.shape[0]} numbers, and given are {given}")
    return _each(standardised(condition, rows), n, name)


def _image(model: "Model", name: str, condition: Condition, value: Any, n: int) -> Tensor:
    """Integers are scaled, and all is brought to the size that the condition had in training."""
    given = _alike(arguments.array(value, name), condition.dtype, name)
    images = scaled(pictured(condition, given))
    axes, (channels, *sides) = len(condition.shape), condition.shape
    images = images[None] if images.ndim == axes - 1 else images  # a grey image without its one channel
    images = images[None] if images.ndim == axes else images
    if images.ndim != axes + 1 or images.shape[1] != channels:
        raise Refused(f"{name} is an image of shape {condition.shape}, of any size; given is {given.shape}")
    if list(images.shape[2:]) != sides:
        smooth = {"align_corners": False, "antialias": True} if axes == 3 else {"align_corners": False}
        images = F.interpolate(images.float(), sides, mode=MODES[axes - 1], **smooth)
    return _each(images.float(), n, name)


def _alike(image: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """The image as the network knows such, which it was trained on in this dtype ("": it is not known).

    Raises Refused for numbers where it knows levels, and for levels where it knows numbers: their scales differ.
    """
    levels = image.dtype.kind in "ui"
    if dtype and levels != (np.dtype(dtype).kind in "ui"):
        raise Refused(f"{name} was {dtype} in the training data, and given is {image.dtype}: give it as {dtype}")
    if not levels or image.dtype.name in ("uint8", "uint16", "int16"):
        return image.astype(np.float32) if image.dtype.kind in "bf" else image
    wanted = dtype or "uint8"
    known = np.iinfo(wanted)
    if image.size and not known.min <= int(image.min()) <= int(image.max()) <= known.max:
        raise Refused(f"{name} is {wanted}, {known.min} to {known.max}, and has {image.min()} to {image.max()}")
    return image.astype(wanted)


READ: dict[str, Callable[["Model", str, Condition, Any, int], Tensor]] = {
    "label": _label,
    "text": _text,
    "vector": _vector,
    "image": _image,
}


def _each(values: Tensor, n: int, name: str) -> Tensor:
    """n values from one or n; raises Refused for another count."""
    _refuse_count(len(values), n, name)
    return values.expand(n, *values.shape[1:])


def _refuse_count(count: int, n: int, name: str) -> None:
    if count not in (1, n):
        raise Refused(f"{n} samples need one {name} or {n}, not {count}")


def guide(
    model: "Model", steering: Steering, given: Mapping[str, Tensor], wrap: Callable[[Denoiser], Denoiser] | None = None
) -> Denoiser:
    """The model's denoiser with the guidance that `resolve_guidance` finds. wrap: what else steers it, before its guess
    is clipped.

    Raises Refused as `resolve_guidance` does.
    """
    model.denoiser.eval()
    found = resolve_guidance(model, steering, given)
    denoiser: Denoiser = model.denoiser
    if found.guidance is not None:
        how: dict[str, Any] = {"interval": found.interval, "rescale": found.rescale or 0.0}
        if isinstance(found.guidance, Mapping):
            denoiser = ClassifierFree(denoiser, weight=dict(found.guidance), **how)
        else:
            hidden = tuple(name for name, condition in model.conditions.items() if condition.drop > 0)
            hide = None if len(hidden) == len(model.conditions) else hidden
            denoiser = ClassifierFree(denoiser, weight=float(found.guidance), hide=hide, **how)
    denoiser = spread(model, denoiser)
    denoiser = wrap(denoiser) if wrap else denoiser
    refuse_unfit(found, model.codec, model.denoiser.embeddings is not None)
    denoiser = Truncation(denoiser, **found.cut) if found.cut else denoiser
    if not found.thresholded:
        return denoiser
    if (highest := level(found.threshold)) is not None:
        return Clamp(denoiser, model.denoiser.embeddings.snapped, (0.0, highest))
    return Threshold(denoiser, bounds(model.codec, str(found.threshold)), percentile(found.threshold))


def resolve_guidance(model: "Model", asked: Steering, given: Collection[str]) -> Steering:
    """How samples that are told these conditions are steered: as asked, else as the recipe says where there is a
    condition to guide to. No guidance stands for a weight of 1 as well.

    Raises Refused for guidance without a condition, for names of none, for conditions that the model never saw hidden,
    and for an interval or a rescale that is asked for where nothing is guided.
    """
    hidden = [name for name, condition in model.conditions.items() if condition.drop > 0]
    own = sampling(model.recipe)
    found = asked.over(own)
    if asked.guidance is None:
        to = [name for name in given if name in hidden]
        if isinstance(own.guidance, Mapping):
            some = {name: weight for name, weight in own.guidance.items() if name in to}
            found = replace(found, guidance=some or None)
        elif not to:
            found = replace(found, guidance=None)
    elif isinstance(asked.guidance, Mapping):
        for name in asked.guidance:
            if name not in model.conditions:
                raise unknown("the model's conditions", name, model.conditions)
            _refuse_unguided(f"guidance of {name!r}", [name], hidden, given)
    elif asked.guidance != 1:
        if not model.conditions:
            raise Refused(f"guidance = {asked.guidance:g} needs a condition, and the model is unconditional")
        _refuse_unguided(f"guidance = {asked.guidance:g}", list(model.conditions), hidden, given)
    for name in ("interval", "rescale"):
        if found.guidance is None and getattr(asked, name):
            raise Refused(f"{name} is of guidance, and there is none: give it a weight, and a condition to guide to")
    if found.guidance is None or found.guidance == 1:
        return replace(found, guidance=None, interval=None, rescale=None)
    return found


def _refuse_unguided(what: str, names: Sequence[str], hidden: Sequence[str], given: Collection[str]) -> None:
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
