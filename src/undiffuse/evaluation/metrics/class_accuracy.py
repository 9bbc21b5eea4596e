"""Class accuracy: how many items' likeliest class is their own."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from undiffuse.evaluation.metrics.predictive import PredictiveMetric
from undiffuse.sampling.predictions import Predictions


@dataclass(frozen=True)
class ClassAccuracy(PredictiveMetric):
    """The share of items whose class has the highest chance."""

    classes: ClassVar[bool] = True
    better: ClassVar[str] = "higher"

    def of(self, found: Predictions, targets: np.ndarray) -> float:
        return float((found.best == targets.argmax(1)).mean())
