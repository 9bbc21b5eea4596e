"""Diffusion: a denoiser, the codec at its edges, and the recipe that made them; draws samples."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.models.denoising_kind import DenoisingKind
from undiffuse.progress import Progress
from undiffuse.recipes import build
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.generator import refuse_taken
from undiffuse.sampling.guidance import check_recipe
from undiffuse.sampling.plan import shown
from undiffuse.sampling.predicting import inputs_name, predict
from undiffuse.sampling.predictions import Predictions
from undiffuse.sampling.request import SampleRequest


class Diffusion(DenoisingKind):
    """A trained denoiser with its codec: draws samples in the data's own units. Fields: see `DenoisingGenerator`."""

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "schedule", "network", "objective", "train"), True),
        **dict.fromkeys(
            ("process", "parameterization", "optimiser", "init", "denoiser", "conditions", "sampler"), False
        ),
    }
    what: ClassVar[str] = "a model of samples"

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
    def build(cls, about: Description) -> nn.Module:
        return build.predictor(about)

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
        from undiffuse.data.to_predict import inputs

        inputs_name(self)
        x, _ = inputs(self, frame)
        asked = (request or SampleRequest()).updated(options)
        with shown(progress, len(x) * n) as report:
            return predict(self, x, n, asked, lambda done, total: report(done * len(x) * n // total))
