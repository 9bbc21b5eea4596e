"""QICE: how evenly targets fall between the quantiles of their predictions."""

from dataclasses import dataclass

import numpy as np

from undiffuse.evaluation.metrics.predictive import PredictiveMetric
from undiffuse.sampling.predictions import Predictions


@dataclass(frozen=True)
class QICE(PredictiveMetric):
    """mean over `bins` of |share of targets between two neighbouring quantiles - 1/bins|.

    A target that equals a quantile is below it. Few targets make it large by chance alone, which the floor shows.
    Source: arXiv:2206.07275, eq. 13.
    """

    bins: int = 10

    def of(self, found: Predictions, targets: np.ndarray) -> float:
        inner = found.quantiles(np.linspace(0, 1, self.bins + 1)[1:-1].tolist())
        places = (targets > inner).sum(0)
        shares = np.bincount(places.ravel(), minlength=self.bins) / places.size
        return float(np.abs(shares - 1 / self.bins).mean())
