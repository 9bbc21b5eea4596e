"""A classifier of noisy samples: tells their class at every noise level, and so guides a run that draws samples."""

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.label import LABEL, refuse_few
from undiffuse.core.errors import Refused
from undiffuse.core.noisy_classifier import NoisyClassifier
from undiffuse.core.random import Random
from undiffuse.evaluation.record import EVALUATION
from undiffuse.recipes import build
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.evaluation_request import Evaluated, EvaluationRequest
from undiffuse.sampling.run import Run


class Classifier(Run):
    """A trained classifier of noisy samples with its codec: guides `Diffusion.sample(..., classifier=this)`.

    Fields: see `Run`.
    """

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "schedule", "network", "objective", "train"), True),
        **dict.fromkeys(("process", "parameterization", "optimiser", "init", "conditions"), False),
    }
    reads: ClassVar[str] = LABEL
    predicts: ClassVar[str] = LABEL
    what: ClassVar[str] = "a classifier of noisy samples"
    use: ClassVar[str] = (
        "it guides a model, by `undiffuse sample MODEL --classifier {run}`, and `undiffuse evaluate` measures it"
    )
    guides: ClassVar[bool] = True
    rounds: ClassVar[bool] = False  # guidance takes its gradients
    writes: ClassVar[tuple[str, ...]] = (EVALUATION,)

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        build.check_denoising(recipe, {name: each for name, each in conditions.items() if name != LABEL})
        if LABEL not in conditions:
            raise Refused("a classifier learns labels: write [conditions.label]")
        if drop := conditions[LABEL].drop:
            raise Refused(f"a classifier needs every label: conditions.label.drop must be 0, not {drop:g}")
        if other := next((name for name in conditions if name != LABEL), None):
            raise Refused(f"a classifier sees the noisy sample and nothing else: remove [conditions.{other}]")

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        refuse_few(len(about.classes))
        return NoisyClassifier(*build.reading(about, len(about.classes)))

    def attempt(self) -> None:
        noise = self.module.process.prior((1, *self.shape)).sample(Random(0))
        self.module.log_probs(noise.to(self.device), 1.0)

    def evaluate(self, asked: EvaluationRequest) -> Evaluated:
        from undiffuse.evaluation.label_accuracy import read

        return read(self, self.module, asked)

    def about(self) -> dict[str, str]:
        return {"tells": "the class of noisy samples, for --classifier"}
