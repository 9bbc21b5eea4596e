"""Gaussian NLL: how unlikely targets are under normal distributions with the draws' means and variances."""

from dataclasses import dataclass

import numpy as np

from undiffuse.evaluation.metrics.predictive import PredictiveMetric
from undiffuse.sampling.predictions import Predictions

LEAST = 1e-9  # of the deviation, as a share of the targets' own


@dataclass(frozen=True)
class GaussianNLL(PredictiveMetric):
    """mean(log(2 pi s^2)/2 + (target - m)^2/(2 s^2)) in nats, m and s^2 the mean and the variance of a row's draws.

    A distribution with several peaks is judged by its mean and variance alone; `nll` is the density that the run itself
    has. Source: arXiv:2206.07275, sec. 4.1.
    """

    def of(self, found: Predictions, targets: np.ndarray) -> float:
        count = found.draws.shape[1]
        least = LEAST * (targets.std(0) + LEAST)
        variance = np.maximum(found.std**2 * count / max(1, count - 1), least**2)
        return float((np.log(2 * np.pi * variance) / 2 + np.square(targets - found.mean) / (2 * variance)).mean())
