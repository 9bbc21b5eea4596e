"""A generative adversarial network as a run: samples by one call of a generator, and no likelihood."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.implicit import ImplicitModel
from undiffuse.core.single_precision import in_float32
from undiffuse.evaluation.evaluate_drawn import evaluate_drawn
from undiffuse.evaluation.scores import Scores
from undiffuse.progress import Progress
from undiffuse.recipes.abilities import refuse_forms
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.reports.drawn_report import FILES, DrawnReport
from undiffuse.reports.preview import preview
from undiffuse.sampling.evaluation_request import Bar, EvaluationRequest
from undiffuse.sampling.generator import Generator, refuse_taken
from undiffuse.sampling.prior_session import PriorSession
from undiffuse.sampling.request import SampleRequest

BOUNDS = (-1.0, 1.0)  # of what a generator makes
NO_LIKELIHOOD = "a GAN makes samples and has no probability of an item: of it there are the metrics of samples"


class GANRun(Generator):
    """A trained generator with its codec; what it was trained against is not kept. Fields: see `Run`."""

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "network", "objective", "train"), True),
        **dict.fromkeys(("optimiser", "init", "conditions"), False),
    }
    reads: ClassVar[str] = "samples"
    predicts: ClassVar[str] = "game"
    what: ClassVar[str] = "a GAN"
    use: ClassVar[str] = "draw samples by `undiffuse sample {run}`, and `undiffuse evaluate` judges them"
    writes: ClassVar[tuple[str, ...]] = FILES

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        refuse_taken(conditions)
        refuse_forms(str(recipe["network"]["name"]), conditions)
        codec = recipe.component("codec")
        if codec.tokens or codec.mixed:
            raise Refused(f"codec {recipe['codec']['name']!r} is not for values, and a GAN is: take pixels")
        if codec.bounds != BOUNDS:
            raise Refused(
                f"a generator makes numbers from -1 to 1, and codec {recipe['codec']['name']!r} makes others of data: "
                "--set codec.name=pixels brings data of any range there"
            )

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        with in_float32():
            given: dict[str, Any] = {"channels": about.shape[0], "shape": about.shape, "classes": len(about.classes)}
            return ImplicitModel(about.recipe.module("network", **given))

    def attempt(self) -> None:
        self.module(torch.zeros(1, self.module.network.latents, dtype=torch.float32, device=self.device))

    def preview(self, x: np.ndarray, conditions: Mapping[str, Any], count: int) -> bytes:
        return preview(self, x, conditions, count)

    def evaluate(self, asked: EvaluationRequest) -> DrawnReport:
        return DrawnReport(evaluate_drawn(self, asked))

    @torch.no_grad()
    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """The items in the data's units that draws z (n, latents) from N(0, 1) become, on z's device.

        Raises Refused for draws of another shape.
        """
        z = arguments.tensor(z, "z")
        return self.codec.decode(self.module(z.to(self.device), **cond)).to(z.device)

    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> PriorSession:
        asked = (request or SampleRequest()).updated(options, self.conditions)
        return PriorSession.open(self, asked, (self.module.network.latents,), self.decode, progress)

    def no_likelihood(self) -> str:
        return NO_LIKELIHOOD

    def scores(self, data: Any, seed: int, bar: Bar) -> Scores:
        raise Refused(NO_LIKELIHOOD)

    def about(self) -> dict[str, str]:
        return {"draws": f"{self.module.network.latents} numbers of noise, through one call of the network"}
