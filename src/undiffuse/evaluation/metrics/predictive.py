"""What metrics of predictions share: draws of each item's target beside the target, and what a perfect forecast has."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.core import registry
from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict
from undiffuse.sampling.predictions import Predictions

FLOORS = 4  # targets drawn from the predictions, over which a floor is averaged


class PredictiveMetric(Metric, ABC):
    """Compares the predictions for held-out items with their targets.

    The floor is what the metric would be if the predictions were right: each target is one of its row's own draws then,
    and the others predict it.
    classes: whether it is for classes, and not for numbers. better: which way is good.
    """

    needs: ClassVar[str] = "a run that predicts a target"
    predictions: ClassVar[bool] = True
    classes: ClassVar[bool] = False
    better: ClassVar[str] = "lower"

    @abstractmethod
    def of(self, found: Predictions, targets: np.ndarray) -> float:
        """The metric of predictions and the targets of their rows, (rows, numbers)."""

    def applies(self, evidence: Evidence) -> bool:
        """Where there are predictions, of numbers or of classes as the metric is for."""
        return evidence.predicted is not None and evidence.predicted.found.classes == self.classes

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """The verdict under the metric's own name."""
        asked = evidence.predicted
        assert asked is not None, "a metric of predictions is asked where there are some"
        name = registry.name_of(self)
        values = np.array([self.of(found, targets) for found, targets in asked.pairs()])
        judged = verdict(
            self.of(asked.found, asked.targets), values, better=self.better, count=len(asked.targets),
            seed=evidence.seed, draws=asked.found.draws.shape[1],
        )  # fmt: skip
        return {name: judged}


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predictions of held-out items and their targets, (rows, numbers): of classes 1 in the class's column, else 0."""

    found: Predictions
    targets: np.ndarray

    def pairs(self) -> list[tuple[Predictions, np.ndarray]]:
        """Predictions, with a draw left out, and the draw as the target: as if the predictions were right."""
        draws, made = self.found.draws, []
        for k in range(min(FLOORS, draws.shape[1] - 1)):
            aim = draws[:, k]
            aim = np.eye(aim.shape[1], dtype=aim.dtype)[aim.argmax(1)] if self.found.classes else aim
            others = Predictions(np.delete(draws, k, axis=1), self.found.targets, self.found.classes, self.found.name)
            made.append((others, aim))
        return made
