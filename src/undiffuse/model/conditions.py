"""What a model is told: conditions as a person gives them, turned into tensors, and guidance towards them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused, unknown
from undiffuse.guidance.classifier_free import ClassifierFree
from undiffuse.guidance.optimal_variance import OptimalVariance
from undiffuse.model import parts

if TYPE_CHECKING:
    from undiffuse.model.model import Model


def requested(model: "Model", n: int, cond: Mapping[str, Any]) -> dict[str, Tensor]:
    """The conditions of n samples, each a tensor (n,) on the model's device; those given as None are left out.

    Raises Refused for a condition that the model was not trained with, for one that it cannot do without, and for
    unknown classes.
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
        given[name] = torch.tensor(numbers(value, n, model.classes, name), device=model.device)
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


def guide(model: "Model", weight: float | None, given: Mapping[str, Tensor]) -> Denoiser:
    """The model's denoiser, guided with this weight, or with the recipe's where there is a condition to guide to.

    Raises Refused without a condition, and for a model that never saw its condition dropped.
    """
    asked = weight if weight is not None else parts.sampling(model.recipe).guidance if given else None
    model.denoiser.eval()
    if asked is None or asked == 1:
        return spread(model, model.denoiser)
    if not model.conditions:
        raise Refused(f"guidance = {asked:g} needs a condition, and the model is unconditional")
    hidden = [name for name, condition in model.conditions.items() if condition.drop > 0]
    if not hidden:
        name = next(iter(model.conditions))
        raise Refused(
            f"guidance = {asked:g} needs a model that was trained with its condition hidden now and then "
            f"(conditions.{name}.drop is 0)"
        )
    if not given:
        raise Refused(f"guidance = {asked:g} needs {hidden[0]!r}: what to guide to")
    return spread(model, ClassifierFree(model.denoiser, weight=float(asked)))


def spread(model: "Model", denoiser: Denoiser) -> Denoiser:
    """The denoiser with the variance that was tuned for the model, if one was."""
    return OptimalVariance(denoiser, **model.variance) if model.variance else denoiser
