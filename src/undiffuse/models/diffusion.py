"""Diffusion: a denoiser, the codec at its edges, and the recipe that made them; draws samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor, nn

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.declared import summaries
from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.jumps import WORDS
from undiffuse.core.named_parts import to
from undiffuse.core.random import Random
from undiffuse.data.to_predict import inputs
from undiffuse.evaluation import nll
from undiffuse.evaluation.evaluate import evaluate_run
from undiffuse.guidance.optimal_variance import OptimalVariance
from undiffuse.models.load import load
from undiffuse.progress import Progress
from undiffuse.recipes import build
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.reports import report
from undiffuse.reports.preview import preview
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.generator import refuse_taken
from undiffuse.sampling.guidance import check_recipe
from undiffuse.sampling.lora import with_lora
from undiffuse.sampling.plan import shown
from undiffuse.sampling.predicting import inputs_name, predict
from undiffuse.sampling.predictions import Predictions
from undiffuse.sampling.request import RUNS, SampleRequest
from undiffuse.sampling.run import Bar, EvaluationRequest
from undiffuse.sampling.session import Session
from undiffuse.sampling.stored_plan import check_plans


@dataclass(frozen=True, eq=False, repr=False)
class Diffusion(DenoisingGenerator):
    """A trained denoiser with its codec: draws samples in the data's own units. Fields: see `DenoisingGenerator`."""

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "schedule", "network", "objective", "train"), True),
        **dict.fromkeys(
            ("process", "parameterization", "optimiser", "init", "denoiser", "conditions", "sampler"), False
        ),
    }
    what: ClassVar[str] = "a model of samples"
    writes: ClassVar[tuple[str, ...]] = report.FILES

    denoiser: Predictor
    codec: Codec
    shape: tuple[int, ...]
    recipe: Recipe
    conditions: Mapping[str, ConditionKind] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def use(self) -> str:
        """What to do with such a run, with its folder at {run}."""
        if any(condition.of_item for condition in self.conditions.values()):
            return "predict the target of rows by `undiffuse predict {run} ROWS`"
        return "draw samples by `undiffuse sample {run}`"

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        build.check_denoising(recipe, conditions)
        refuse_taken(conditions)
        check_recipe(recipe)

    @classmethod
    def blueprint(
        cls,
        recipe: Recipe,
        shape: tuple[int, ...],
        classes: int,
        codec: Codec,
        conditions: Mapping[str, ConditionKind],
        **limits: Any,
    ) -> dict[str, Tensor]:
        return build.blueprint(recipe, shape, classes, codec, conditions=conditions, **limits)

    @classmethod
    def build(
        cls,
        recipe: Recipe,
        shape: tuple[int, ...],
        classes: int,
        codec: Codec,
        conditions: Mapping[str, ConditionKind],
    ) -> nn.Module:
        return build.predictor(recipe, shape, classes, codec, conditions)

    @classmethod
    def of(cls, module: Any, about: Description) -> Self:
        if "variance" in about.facts:
            _check_variance(module, about.facts["variance"])
        check_plans(about.facts, module)
        return cls(module, about.codec, about.shape, about.recipe, about.conditions, about.facts)

    def attempt(self) -> None:
        shape = self.denoiser.state_shape((1, *self.shape))
        self.denoiser(to(self.denoiser.process.prior(shape).sample(Random(0)), self.device), 1.0)

    def preview(self, x: np.ndarray, conditions: Mapping[str, Any], count: int) -> bytes:
        return preview(self, x, conditions, count)

    def evaluate(self, asked: EvaluationRequest) -> report.Report:
        run, request = with_lora(self, asked.request.lora), replace(_with_runs(asked.request), lora={})
        return report.Report(evaluate_run(run, replace(asked, request=request)))

    def scores(self, data: Any, seed: int, bar: Bar) -> nll.Scores:
        return nll.evaluate(self, data, seed, bar)

    def about(self) -> dict[str, str]:
        conditions = {"conditions": "\n".join(summaries(self.conditions))} if self.conditions else {}
        jumps = {} if self.denoiser.jumps == "none" else {"jumps": WORDS[self.denoiser.jumps]}
        low, high = self.denoiser.guidance_input or (1.0, 1.0)
        weight = {"guidance": f"the weight, {low:g} to {high:g}, is an input of the network"} if low < high else {}
        return conditions | jumps | weight

    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> Session:
        asked = (request or SampleRequest()).updated(options, self.conditions)
        return Session.open(with_lora(self, asked.lora), _with_runs(asked), progress)

    def predict(
        self,
        frame: Any,
        n: int = 100,
        request: SampleRequest | None = None,
        *,
        progress: Progress = False,
        **options: Any,
    ) -> Predictions:
        """n draws of the target of each row, which say its mean, quantiles and chances: see `Predictions`.

        frame: rows with the columns that the run predicts from, see `data.to_predict.inputs`: a data frame, columns by
        name, an array or the path of a file. options: fields of `SampleRequest`, such as seed and steps.
        Raises Refused for a run that predicts nothing, and for rows that lack a column.
        """
        inputs_name(self)
        x, _ = inputs(self, frame)
        asked = (request or SampleRequest()).updated(options)
        with shown(progress, len(x) * n) as report:
            return predict(self, x, n, asked, lambda done, total: report(done * len(x) * n // total))

    @property
    def module(self) -> nn.Module:
        return self.denoiser


def _with_runs(request: SampleRequest) -> SampleRequest:
    """The request with runs in the place of their folders."""
    named = {name: load(path) for name in RUNS if isinstance(path := getattr(request, name), str | Path)}
    return replace(request, **named)


def _check_variance(denoiser: Denoiser, said: Any) -> None:
    """Raises Refused unless this is what `OptimalVariance` takes."""
    if not isinstance(said, dict):
        raise Refused("the run is broken: its description lacks or spoils 'variance'")
    try:
        fields = registry.check(OptimalVariance, said, owner="its variance")
        OptimalVariance(**{"denoiser": denoiser, "times": (), "variances": (), **fields})
    except Refused as error:
        raise Refused(f"the run is broken: {error}") from None
