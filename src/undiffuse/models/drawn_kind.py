"""What the kinds of run have in common that draw samples without a denoiser."""

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.recipes.abilities import refuse_forms
from undiffuse.recipes.recipe import Recipe
from undiffuse.reports.files import DRAWN
from undiffuse.sampling.evaluation_request import Evaluated, EvaluationRequest
from undiffuse.sampling.generator import Generator, refuse_taken


class DrawnKind(Generator, ABC):
    """Checked, shown and evaluated as any other; what it is made of, a kind says by itself."""

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "network", "objective", "train"), True),
        **dict.fromkeys(("optimiser", "init", "conditions"), False),
    }
    writes: ClassVar[tuple[str, ...]] = DRAWN

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        refuse_taken(conditions)
        refuse_forms(str(recipe["network"]["name"]), conditions)

    def preview(self, x: np.ndarray, conditions: Mapping[str, Any], count: int) -> bytes | None:
        from undiffuse.reports.preview import preview

        return preview(self, x, conditions, count)

    def evaluate(self, asked: EvaluationRequest) -> Evaluated:
        from undiffuse.evaluation.evaluate_drawn import evaluate_drawn
        from undiffuse.reports.drawn_report import DrawnReport

        return DrawnReport(evaluate_drawn(self, asked))
