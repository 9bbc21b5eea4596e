"""A model guided by a classifier of noisy samples: what fits together, and by which of the two forms."""

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

    The label is the classifier's, one of its classes, and no condition of the model; other conditions are the model's.
    The form "guess" moves the guess (`ClassifierGuidance`), "mean" the mean of the sampler's step (`MeanShift`).
    Raises Refused without a label, where model and classifier do not fit together, for guidance that a form has not,
    and for "mean" with a sampler whose steps have no variance.
    """
    classifier, values = request.classifier, request.conditions
    if not (isinstance(classifier, Run) and classifier.guides):
        given = classifier.what if isinstance(classifier, Run) else shown(classifier)
        raise Refused(f"classifier is a run that tells the class of noisy samples, as `load` returns, not {given}")
    refuse_unlike(model, classifier)
    if values.get(LABEL) is None:
        raise Refused("a classifier needs a label: which class to guide to")
    found = _resolved(model, request)
    log_prob: Any = classifier.module
    weight: Any = found.guidance
    label = classifier.conditions[LABEL].given(values[LABEL], n, LABEL).to(model.device)
    given = requested(
        model.conditions, n, {name: value for name, value in values.items() if name != LABEL}, model.device
    )
    rest = resolve_guidance(model, replace(found, guidance=None, interval=None, rescale=None), given)
    if found.classifier_form == "guess":
        wrap = partial(ClassifierGuidance, classifier=log_prob, weight=weight, interval=found.interval)
        return found, guide(model, rest, wrap), sampler, {**given, LABEL: label}
    if found.interval:
        raise Refused("interval is of the form 'guess': the form 'mean' moves every step")
    _refuse_certain(model, sampler, times)
    return found, guide(model, rest), MeanShift(sampler, log_prob, weight), {**given, LABEL: label}


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
        ("noise", guide.process, model.denoiser.process),
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
