"""PICP: how many targets lie in their predicted interval."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from undiffuse.evaluation.metrics.predictive import PredictiveMetric
from undiffuse.sampling.predictions import Predictions


@dataclass(frozen=True)
class PICP(PredictiveMetric):
    """The share of targets between the draws' (1 - share)/2 and (1 + share)/2 quantiles; it should be `share`.

    Source: arXiv:2206.07275, eq. 12.
    """

    better: ClassVar[str] = "higher"

    share: float = 0.95

    def of(self, found: Predictions, targets: np.ndarray) -> float:
        low, high = found.quantiles(((1 - self.share) / 2, (1 + self.share) / 2))
        return float(((low <= targets) & (targets <= high)).mean())
