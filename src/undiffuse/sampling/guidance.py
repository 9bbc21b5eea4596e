"""Guidance as it is asked for: the denoiser that a model's samples are drawn with."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from undiffuse.codecs.codec import Codec
from undiffuse.core import families, registry
from undiffuse.core.arguments import shown
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.jumps import GUIDANCE, within
from undiffuse.guidance.autoguidance import Autoguidance
from undiffuse.guidance.clamp import Clamp
from undiffuse.guidance.classifier_free import ClassifierFree
from undiffuse.guidance.fixed_conditions import FixedConditions
from undiffuse.guidance.optimal_variance import OptimalVariance
from undiffuse.guidance.threshold import Threshold
from undiffuse.guidance.truncation import Truncation
from undiffuse.recipes import build
from undiffuse.recipes.denoiser_settings import denoiser_settings
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.denoising_run import DenoisingRun
from undiffuse.sampling.plan import recipe_defaults
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.run import Run
from undiffuse.sampling.threshold import OFF, bounds, level, percentile


def guide(model: DenoisingRun, request: SampleRequest, wrap: Callable[[Denoiser], Denoiser] | None = None) -> Denoiser:
    """The model's denoiser with the guidance of a request that `resolve_guidance` gave. wrap: further guidance, before
    the guess is clipped.

    Raises Refused for a threshold and for truncation of what has none.
    """
    model.denoiser.eval()
    denoiser: Denoiser = model.denoiser
    if request.weaker is not None:
        weight, rescale = float(cast(Any, request.guidance)), request.rescale or 0.0
        denoiser = Autoguidance(denoiser, _weaker(request.weaker), weight, request.interval, rescale)
    elif request.guidance is not None and model.denoiser.guidance_input is not None:
        denoiser = FixedConditions(denoiser, **{GUIDANCE: request.guidance})
    elif request.guidance is not None:
        how: dict[str, Any] = {"interval": request.interval, "rescale": request.rescale or 0.0}
        how["negative"] = _negative(model, request)
        if isinstance(request.guidance, Mapping):
            denoiser = ClassifierFree(denoiser, weight=dict(request.guidance), **how)
        else:
            able = tuple(name for name, condition in model.conditions.items() if condition.drop > 0)
            hide = None if len(able) == len(model.conditions) else able
            denoiser = ClassifierFree(denoiser, weight=float(request.guidance), hide=hide, **how)
    denoiser = spread(model, denoiser)
    denoiser = wrap(denoiser) if wrap else denoiser
    refuse_unfit(request, model.codec, model.denoiser.embeddings is not None)
    denoiser = Truncation(denoiser, **request.truncation) if request.truncation else denoiser
    if request.threshold in (None, OFF):
        return denoiser
    if (highest := level(request.threshold)) is not None:
        return Clamp(denoiser, model.denoiser.embeddings.snapped, (0.0, highest))
    return Threshold(denoiser, bounds(model.codec, str(request.threshold)), percentile(request.threshold))


def _negative(model: DenoisingRun, request: SampleRequest) -> dict[str, Any]:
    """The values that stand where conditions are dropped, (1, ...) each, by name."""
    if request.negative is None:
        return {}
    texts = [name for name, condition in model.conditions.items() if condition.says and condition.drop > 0]
    if isinstance(request.negative, str) and len(texts) != 1:
        raise Refused(f"negative is a text of one condition, and the model guides by {', '.join(texts) or 'no text'}")
    said = {texts[0]: request.negative} if isinstance(request.negative, str) else request.negative
    for name in said:
        if name not in texts:
            raise unknown("what the model guides by as a text", name, texts)
    return {name: model.conditions[name].given(text, 1, name).to(model.device) for name, text in said.items()}


def _weaker(run: Any) -> Denoiser:
    """The denoiser of the weaker run; raises Refused for what is none."""
    if not (isinstance(run, Run) and run.denoises):
        given = run.what if isinstance(run, Run) else shown(run)
        raise Refused(f"weaker is a run that draws samples of the same data, as `load` returns, not {given}")
    denoiser: Any = run.module
    return denoiser


def resolve_guidance(model: DenoisingRun, request: SampleRequest, given: Collection[str]) -> SampleRequest:
    """The request with the guidance of samples with these conditions: as asked, else as the recipe says where there is
    a condition to guide to. No guidance stands for a weight of 1 as well.

    Raises Refused for guidance without a condition, for names of none, for conditions that training never dropped,
    and for an interval or a rescale that is asked for where nothing is guided.
    """
    able = [name for name, condition in model.conditions.items() if condition.drop > 0]
    own = recipe_defaults(model.recipe)
    found = replace(request.over(own), steps=request.steps, grid=request.grid, candidates=request.candidates)
    if request.negative is not None and (found.weaker is not None or model.denoiser.guidance_input is not None):
        raise Refused(
            "negative is of guidance by a condition that is dropped: leave it out with a weaker run, and of a model "
            "that takes the weight as an input"
        )
    if found.weaker is not None:
        if isinstance(found.guidance, Mapping):
            raise Refused("with a weaker run guidance is one number, the weight of the step away from it")
        return replace(found, guidance=Autoguidance.weight if found.guidance is None else found.guidance)
    if request.guidance is None:
        to = [name for name in given if name in able]
        if isinstance(own.guidance, Mapping):
            some = {name: weight for name, weight in own.guidance.items() if name in to}
            found = replace(found, guidance=some or None)
        elif not to:
            found = replace(found, guidance=None)
    elif isinstance(request.guidance, Mapping):
        for name in request.guidance:
            if name not in model.conditions:
                raise unknown("the model's conditions", name, model.conditions)
            _refuse_unguided(f"guidance of {name!r}", [name], able, given)
    elif request.guidance != 1:
        if not model.conditions:
            raise Refused(f"guidance = {request.guidance:g} needs a condition, and the model is unconditional")
        _refuse_unguided(f"guidance = {request.guidance:g}", list(model.conditions), able, given)
    if model.denoiser.guidance_input is not None:
        return _as_input(model.denoiser.guidance_input, request, found)
    if request.negative is not None and found.guidance in (None, 1):
        raise Refused("negative needs guidance: give it a weight, and a condition to guide to")
    for name in ("interval", "rescale"):
        if found.guidance is None and getattr(request, name):
            raise Refused(f"{name} is of guidance, and there is none: give it a weight, and a condition to guide to")
    if found.guidance is None or found.guidance == 1:
        return replace(found, guidance=None, interval=None, rescale=None)
    return found


def _as_input(known: tuple[float, float], request: SampleRequest, found: SampleRequest) -> SampleRequest:
    """The request to a model that takes the weight as an input; raises Refused for more than one weight, for one that
    it was not trained with, and for an interval and a rescale.
    """
    if isinstance(found.guidance, Mapping):
        raise Refused("this model takes the guidance weight as an input: guidance is one number")
    for name in ("interval", "rescale"):
        if getattr(request, name):
            raise Refused(f"{name} is of guidance by two guesses, and this model takes the weight as an input")
    within(known, found.guidance)
    return replace(found, interval=None, rescale=None)


def check_recipe(recipe: Recipe) -> None:
    """Raises Refused for a [sampler] table that is not for what the recipe trains."""
    own = recipe_defaults(recipe)
    if own.sampler is not None:
        families.check(own.sampler, build.process(recipe))
    refuse_unfit(own, recipe.component("codec"), bool(denoiser_settings(recipe).embedding))


def refuse_unfit(request: SampleRequest, codec: Codec, embedded: bool = False) -> None:
    """Raises Refused for a threshold of data without bounds, for one to the nearest embedding where there are none, and
    for truncation, by its name, of data that are not tokens. embedded: whether states are embeddings of tokens.
    """
    if level(request.threshold) is not None:
        if not embedded:
            raise Refused(f"threshold = {request.threshold!r} needs a model of embeddings, as text-diffusion-lm trains")
    elif request.threshold not in (None, OFF):
        bounds(codec, str(request.threshold))
    for name, value in list(request.truncation.items())[:1]:
        asked = f"{name} = {value:g} is for guesses of tokens, and "
        if embedded:
            raise Refused(f"{asked}those of this model are embeddings")
        if not codec.tokens:
            name = registry.name_of(codec)
            raise Refused(f"{asked}codec {name!r} makes none: guesses of values are kept in their range by threshold")


def words(request: SampleRequest | None) -> str:
    """How samples were guided, for people: "guidance 2 where the noise level is in (0.2, 5]"; "" for nothing."""
    found: list[str] = []
    if request is None:
        return ""
    if request.guidance is not None:
        named = request.guidance.items() if isinstance(request.guidance, Mapping) else [("", request.guidance)]
        found.append("guidance " + ", ".join(f"{name} {weight:g}".strip() for name, weight in named))
        if request.interval is not None:
            found[-1] += f" where the noise level is in ({request.interval[0]:g}, {request.interval[1]:g}]"
        found += [f"rescaled by {request.rescale:g}"] if request.rescale else []
    found += [f"threshold {request.threshold}"] if request.threshold not in (None, OFF) else []
    found += [f"{name.replace('_', '-')} {value:g}" for name, value in request.truncation.items()]
    by = []
    if request.classifier is not None:
        by = [f"by {request.classifier.recipe.name} (form {request.classifier_form})"]
    found += [f"LoRA {path} with weight {weight:g}" for path, weight in request.lora.items()]
    by += [*map(str, request.control), *([f"best of {request.each}"] if request.each > 1 else [])]
    return " ".join(filter(None, [", ".join(found), ", ".join(by)]))


def _refuse_unguided(what: str, names: Sequence[str], able: Sequence[str], given: Collection[str]) -> None:
    """Raises Refused unless one of these conditions is among those that training dropped, and is given."""
    guided = [name for name in names if name in able]
    if not guided:
        raise Refused(
            f"{what} needs a model that was trained with conditioning dropout (conditions.{names[0]}.drop is 0)"
        )
    if not any(name in given for name in guided):
        raise Refused(f"{what} needs {guided[0]!r}: what to guide to")


def spread(model: DenoisingRun, denoiser: Denoiser) -> Denoiser:
    """The denoiser with the variance that was tuned for the model, if one was."""
    return OptimalVariance(denoiser, **model.variance) if model.variance else denoiser


def refuse_idle(request: SampleRequest) -> None:
    """Raises Refused for options that change nothing, since what they belong to is not asked for."""
    if request.classifier_form != SampleRequest.classifier_form and request.classifier is None:
        raise Refused(
            f"classifier_form = {request.classifier_form!r} is how a classifier guides, and none is asked for: name "
            "its run, as classifier = 'runs/digits-classifier'"
        )
    if request.control_weight != SampleRequest.control_weight and not request.control:
        raise Refused(
            f"control_weight = {request.control_weight:g} weighs a control of a text, and none is asked for: say one, "
            "as control = 'keyword:war'"
        )
