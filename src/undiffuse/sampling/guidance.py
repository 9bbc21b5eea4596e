"""Guidance as it is asked for: the denoiser that a model's samples are drawn with."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused, unknown
from undiffuse.guidance.clamp import Clamp
from undiffuse.guidance.classifier_free import ClassifierFree
from undiffuse.guidance.optimal_variance import OptimalVariance
from undiffuse.guidance.threshold import Threshold
from undiffuse.guidance.truncation import Truncation
from undiffuse.sampling.plan import sampling
from undiffuse.sampling.steering import Steering, bounds, level, percentile, refuse_unfit

if TYPE_CHECKING:
    from undiffuse.sampling.generator import Generator


def guide(
    model: "Generator",
    steering: Steering,
    given: Mapping[str, Tensor],
    wrap: Callable[[Denoiser], Denoiser] | None = None,
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


def resolve_guidance(model: "Generator", asked: Steering, given: Collection[str]) -> Steering:
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


def spread(model: "Generator", denoiser: Denoiser) -> Denoiser:
    """The denoiser with the variance that was tuned for the model, if one was."""
    return OptimalVariance(denoiser, **model.variance) if model.variance else denoiser
