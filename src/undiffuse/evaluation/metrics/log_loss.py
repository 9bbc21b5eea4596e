"""Log loss: how surprised the predicted chances are by the true class."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from undiffuse.evaluation.metrics.predictive import PredictiveMetric
from undiffuse.sampling.predictions import Predictions


@dataclass(frozen=True)
class LogLoss(PredictiveMetric):
    """mean(-log of the true class's chance), in nats."""

    classes: ClassVar[bool] = True

    def of(self, found: Predictions, targets: np.ndarray) -> float:
        own = (found.probabilities * targets).sum(1)
        return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())
