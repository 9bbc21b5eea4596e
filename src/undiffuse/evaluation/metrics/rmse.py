"""RMSE: how far the mean of the draws is from the target."""

from dataclasses import dataclass

import numpy as np

from undiffuse.evaluation.metrics.predictive import PredictiveMetric
from undiffuse.sampling.predictions import Predictions


@dataclass(frozen=True)
class RMSE(PredictiveMetric):
    """sqrt(mean((mean of the draws - target)^2)), in the target's units."""

    def of(self, found: Predictions, targets: np.ndarray) -> float:
        return float(np.sqrt(np.square(found.mean - targets).mean()))
