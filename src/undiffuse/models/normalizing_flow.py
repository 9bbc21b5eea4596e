"""A normalizing flow as a run: a bound on the probability of an item, and samples by one inverse."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse.codecs.level_grid import level_grid
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.normalizing_flow import NormalizingFlow
from undiffuse.core.single_precision import in_float32
from undiffuse.evaluation.evaluate_drawn import evaluate_drawn
from undiffuse.evaluation.level_likelihood import held_out_likelihood
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

DRAWS = 8  # of the noise that spreads an item over its levels


class NormalizingFlowRun(Generator):
    """A trained normalizing flow with its codec. Fields: see `Run`; shape: of an encoded item, channels first."""

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "network", "objective", "train"), True),
        **dict.fromkeys(("optimiser", "init", "conditions"), False),
    }
    reads: ClassVar[str] = "bijection"
    predicts: ClassVar[str] = "likelihood"
    what: ClassVar[str] = "a normalizing flow"
    use: ClassVar[str] = "draw samples by `undiffuse sample {run}`, and `undiffuse evaluate` measures its likelihood"
    levelled: ClassVar[bool] = True
    rounds: ClassVar[bool] = False  # rounded, it is not inverted
    writes: ClassVar[tuple[str, ...]] = FILES

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        refuse_taken(conditions)
        refuse_forms(str(recipe["network"]["name"]), conditions)

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        grid = level_grid(about.codec, about.shape)
        with in_float32():
            given: dict[str, Any] = {"channels": about.shape[0], "shape": about.shape, "classes": len(about.classes)}
            return NormalizingFlow(about.recipe.module("network", **given), grid)

    def attempt(self) -> None:
        dtype = next(self.module.parameters()).dtype
        self.module.network(torch.zeros(1, *self.shape, dtype=dtype, device=self.device))

    def preview(self, x: np.ndarray, conditions: Mapping[str, Any], count: int) -> bytes:
        return preview(self, x, conditions, count)

    def evaluate(self, asked: EvaluationRequest) -> DrawnReport:
        return DrawnReport(evaluate_drawn(self, asked))

    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """The items in the data's units that draws z (n, *shape) from N(0, 1) are, on z's device.

        Raises Refused for draws of another shape.
        """
        z = arguments.tensor(z, "z")
        if tuple(z.shape[1:]) != self.shape:
            raise Refused(f"this normalizing flow takes noise of shape {self.shape}, not {tuple(z.shape[1:])}")
        return self.codec.decode(self.module.decode(z.to(self.device), **cond)).to(z.device)

    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> PriorSession:
        asked = (request or SampleRequest()).updated(options, self.conditions)
        return PriorSession.open(self, asked, self.shape, self.decode, progress)

    def scores(self, data: Any, seed: int, bar: Bar) -> Scores:
        with bar("bound", "item") as advance:
            return held_out_likelihood(self, self.module, data, seed, advance, draws=DRAWS)

    def about(self) -> dict[str, str]:
        return {"draws": "normal noise, through the inverse of the network"}
