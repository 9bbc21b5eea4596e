"""CRPS: how far the whole predicted distribution is from the target, in the target's units."""

from dataclasses import dataclass

import numpy as np

from undiffuse.evaluation.metrics.predictive import PredictiveMetric
from undiffuse.sampling.predictions import Predictions


@dataclass(frozen=True)
class CRPS(PredictiveMetric):
    """mean(E|X - y| - E|X - X'|/2), with X and X' draws of a row and y its target: of n draws exactly.

    E|X - X'| = 2/n^2 sum_i (2 i - n - 1) x_(i) over the sorted draws. Of a single number it is the absolute error.
    Source: Gneiting and Raftery 2007, eq. 21.
    """

    def of(self, found: Predictions, targets: np.ndarray) -> float:
        return float(crps(found.draws, targets).mean())


def crps(draws: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Of draws (rows, n, numbers) and targets (rows, numbers), (rows, numbers)."""
    count = draws.shape[1]
    ordered = np.sort(draws.astype(np.float64), axis=1)
    weights = 2 * np.arange(1, count + 1) - count - 1
    apart = np.einsum("rnd,n->rd", ordered, weights) / count**2
    return np.abs(ordered - targets[:, None]).mean(1) - apart
