"""A model guided by a classifier of noisy samples, or by a pair of encoders: what fits together, and by which form."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from undiffuse.conditions.given import requested
from undiffuse.conditions.label import LABEL
from undiffuse.core.arguments import shown
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.guidance.classifier import ClassifierGuidance
from undiffuse.guidance.energy import EnergyGuidance
from undiffuse.guidance.mean_shift import MeanShift
from undiffuse.sampling.denoising_run import DenoisingRun
from undiffuse.sampling.guidance import guide, resolve_guidance
from undiffuse.sampling.plan import recipe_defaults
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.run import Run


def classifier_guided(
    model: DenoisingRun, request: SampleRequest, sampler: Sampler, times: Tensor, n: int
) -> tuple[SampleRequest, Denoiser, Sampler, dict[str, Tensor]]:
    """The resolved request, the denoiser, the sampler and the conditions of n samples that go where a classifier leads.

    What the classifier reads is asked for as a condition: a label is one of its classes, and no condition of the model;
    a text is the model's as well where it knows one of this name. Other conditions are the model's.
    The form "guess" moves the guess (`ClassifierGuidance`, or `EnergyGuidance` by a run that knows clean items alone),
    "mean" the mean of the sampler's step (`MeanShift`).
    Raises Refused without that condition, where model and classifier do not fit together, for guidance that a form has
    not, and for "mean" with a sampler whose steps have no variance, or a classifier of clean items.
    """
    classifier = request.classifier
    if not (isinstance(classifier, Run) and classifier.guides):
        given = classifier.what if isinstance(classifier, Run) else shown(classifier)
        raise Refused(f"classifier is a run that tells the class of noisy samples, as `load` returns, not {given}")
    refuse_unlike(model, classifier)
    values = request.conditions
    led = _led(model, classifier, values, n)
    found = _resolved(model, request)
    log_prob: Any = classifier.module
    weight: Any = found.guidance
    own = {
        name: value for name, value in values.items() if name in model.conditions or name not in classifier.conditions
    }
    given = requested(model.conditions, n, {name: v for name, v in own.items() if name not in led}, model.device)
    rest = resolve_guidance(model, replace(found, guidance=None, interval=None, rescale=None), given)
    reads = tuple(led)
    if found.classifier_form == "guess":
        wrap = partial(_guided, log_prob, classifier.reads_noise, weight, found.interval, reads)
        return found, guide(model, rest, wrap), sampler, {**given, **led}
    if found.interval:
        raise Refused("interval is of the form 'guess': the form 'mean' moves every step")
    if not classifier.reads_noise:
        raise Refused(
            "the form 'mean' asks of noisy samples, and the classifier knows clean ones: use the form 'guess'"
        )
    _refuse_certain(model, sampler, times)
    return found, guide(model, rest), MeanShift(sampler, log_prob, weight, reads=reads), {**given, **led}


def _led(model: DenoisingRun, classifier: Run, values: Mapping[str, Any], n: int) -> dict[str, Tensor]:
    """What a classifier is to guide n samples to, by names that no condition of the model goes by at the same time."""
    found: dict[str, Tensor] = {}
    for name, condition in classifier.conditions.items():
        if values.get(name) is None:
            raise Refused(f"a classifier needs a {name}: which {'class' if name == LABEL else name} to guide to")
        shared = name in model.conditions and not condition.counts_classes
        found[f"{name} of the classifier" if shared else name] = condition.given(values[name], n, name).to(model.device)
    return found


def _guided(
    log_prob: Any, reads_noise: bool, weight: float, interval: Any, reads: tuple[str, ...], denoiser: Denoiser
) -> Denoiser:
    """The denoiser, led by what reads noisy items, or by what reads the clean guess."""
    if reads_noise:
        return ClassifierGuidance(denoiser, log_prob, weight, interval, reads)
    return EnergyGuidance(denoiser, partial(_of_clean, log_prob), weight, interval, reads)


def _of_clean(log_prob: Any, mean: Tensor, **cond: Tensor) -> Tensor:
    return log_prob(mean, 0.0, **cond)


def _resolved(model: DenoisingRun, request: SampleRequest) -> SampleRequest:
    """The request, with the weight 1 if it is left out, and the threshold of the recipe.

    Raises Refused for weights by name, and for a rescale.
    """
    if isinstance(request.guidance, Mapping):
        raise Refused("with a classifier guidance is one number, the classifier's weight")
    if request.rescale:
        raise Refused("rescale is of guidance without a classifier: it compares a guess with one without the condition")
    threshold = recipe_defaults(model.recipe).threshold if request.threshold is None else request.threshold
    weight: Any = 1.0 if request.guidance is None else request.guidance
    return replace(request, guidance=weight, threshold=threshold)


def refuse_unlike(model: DenoisingRun, classifier: Run) -> None:
    """Raises Refused, showing both, where the classifier has not seen what the model's sampler will show it."""
    guide: Any = classifier.module
    for what, theirs, ours in (
        *((("noise", guide.process, model.denoiser.process),) if classifier.reads_noise else ()),
        ("samples of shape", classifier.shape, model.shape),
        ("codec", classifier.codec, model.codec),
    ):
        if theirs != ours:
            raise Refused(f"the classifier was trained on {what} {theirs}, and the model on {ours}: they must be equal")


class _Open(Denoiser):
    """Guesses zeros, and of a variance all that a sampler may ask for."""

    def __init__(self, process: Gaussian) -> None:
        self.process = process

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        return Normal(torch.zeros_like(x_t), 0.5, torch.full_like(x_t, 0.5))


def _refuse_certain(model: DenoisingRun, sampler: Sampler, times: Tensor) -> None:
    """Raises Refused for a sampler whose first step has no variance, by which its mean would be moved."""
    process: Any = model.denoiser.process
    x = torch.zeros(1, *model.shape, dtype=torch.float32)
    belief: Any
    belief, _ = sampler.step(_Open(process), x, times[0], times[1], random=Random(0))
    if belief.certain:
        name = type(sampler).__name__
        raise Refused(
            f"a step without variance, such as {name}'s, is not moved by the form 'mean': use the form 'guess' there, "
            "or a sampler such as ancestral"
        )
