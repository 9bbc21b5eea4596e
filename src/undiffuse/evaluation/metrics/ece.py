"""ECE: how far the chance of the likeliest class is from how often it is right."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from undiffuse.evaluation.metrics.predictive import PredictiveMetric
from undiffuse.sampling.predictions import Predictions


@dataclass(frozen=True)
class ECE(PredictiveMetric):
    """sum over `bins` of equal width of (items in it)/(items) |accuracy - mean chance|, by the chance of the likeliest.

    A chance that ends a bin is in it. Source: arXiv:1706.04599, eq. 3.
    """

    classes: ClassVar[bool] = True

    bins: int = 15

    def of(self, found: Predictions, targets: np.ndarray) -> float:
        chance, right = found.probabilities.max(1), found.best == targets.argmax(1)
        places = np.searchsorted(np.arange(1, self.bins) / self.bins, chance)
        sums = (np.bincount(places, weights=each, minlength=self.bins) for each in (right, chance))
        return float(np.abs(np.subtract(*sums)).sum() / len(chance))
