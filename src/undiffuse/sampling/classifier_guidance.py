"""A model guided by a classifier of noisy samples: what fits together, and by which of the two forms."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from undiffuse.core.arguments import shown
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.guidance.classifier import ClassifierGuidance
from undiffuse.guidance.mean_shift import MeanShift
from undiffuse.sampling.conditions import numbers, requested
from undiffuse.sampling.guidance import guide
from undiffuse.sampling.plan import Plan, sampling
from undiffuse.sampling.run import Run
from undiffuse.sampling.steering import Steering

if TYPE_CHECKING:
    from undiffuse.sampling.generator import Generator

FORMS = ("guess", "mean")
LABEL = "label"


def towards(
    model: "Generator",
    classifier: Run,
    form: str,
    steering: Steering,
    chosen: Plan,
    n: int,
    cond: Mapping[str, Any],
) -> tuple[Denoiser, Plan, dict[str, Tensor]]:
    """The denoiser, the sampler on its grid and the conditions by which n samples go where the classifier leads.

    The label is the classifier's, one of its classes, and the model is not told it; other conditions are the model's.
    form: "guess" moves the guess (`ClassifierGuidance`), "mean" the mean of the sampler's step (`MeanShift`). The
    weight is steering.guidance, 1 if left out.
    Raises Refused without a label, where model and classifier do not fit together, for steering that a form has not,
    and for "mean" with a sampler whose steps have no variance.
    """
    if not (isinstance(classifier, Run) and classifier.guides):
        given = classifier.what if isinstance(classifier, Run) else shown(classifier)
        raise Refused(f"classifier is a run that tells the class of noisy samples, as `load` returns, not {given}")
    if form not in FORMS:
        raise unknown("guidance by a classifier", form, FORMS)
    refuse_unlike(model, classifier)
    if cond.get(LABEL) is None:
        raise Refused("a classifier needs a label: which class to guide to")
    found = led(model, steering)
    log_prob: Any = classifier.module
    weight: Any = found.guidance
    label = torch.tensor(numbers(cond[LABEL], n, classifier.classes, LABEL), dtype=torch.int64).to(model.device)
    given = requested(model, n, {name: value for name, value in cond.items() if name != LABEL})
    rest = replace(found, guidance=None, interval=None, rescale=None)
    if form == "guess":
        wrap = partial(ClassifierGuidance, classifier=log_prob, weight=weight, interval=found.interval)
        return guide(model, rest, given, wrap), chosen, {**given, LABEL: label}
    if found.interval:
        raise Refused("interval is of the form 'guess': the form 'mean' moves every step")
    _refuse_certain(model, chosen)
    shifted = replace(chosen, sampler=MeanShift(chosen.sampler, log_prob, weight))
    return guide(model, rest, given), shifted, {**given, LABEL: label}


def led(model: "Generator", asked: Steering) -> Steering:
    """How a classifier steers: as asked, with the weight 1 if it is left out, and the threshold of the recipe.

    Raises Refused for weights by name, and for a rescale.
    """
    if isinstance(asked.guidance, Mapping):
        raise Refused("with a classifier guidance is one number, the classifier's weight")
    if asked.rescale:
        raise Refused("rescale is of guidance without a classifier: it compares a guess with one that is not told")
    own = sampling(model.recipe).threshold if asked.threshold is None else asked.threshold
    return replace(asked, guidance=1.0 if asked.guidance is None else float(asked.guidance), threshold=own)


def refuse_unlike(model: "Generator", classifier: Run) -> None:
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


def _refuse_certain(model: "Generator", chosen: Plan) -> None:
    """Raises Refused for a sampler whose first step has no variance, by which its mean would be moved."""
    process: Any = model.denoiser.process
    x = torch.zeros(1, *model.shape, dtype=torch.float32)
    belief: Any
    belief, _ = chosen.sampler.step(_Open(process), x, chosen.times[0], chosen.times[1], random=Random(0))
    if belief.certain:
        name = type(chosen.sampler).__name__
        raise Refused(
            f"a step without variance, such as {name}'s, is not moved by the form 'mean': use the form 'guess' there, "
            "or a sampler such as ancestral"
        )
