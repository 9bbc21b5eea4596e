"""CRPS: how far the whole predicted distribution is from the target, in the target's units."""

from dataclasses import dataclass

import numpy as np

from undiffuse.evaluation.crps import crps
from undiffuse.evaluation.metrics.predictive import PredictiveMetric
from undiffuse.sampling.predictions import Predictions


@dataclass(frozen=True)
class CRPS(PredictiveMetric):
    """mean(E|X - y| - E|X - X'|/2), with X and X' draws of a row and y its target: of n draws exactly.

    Of a single number it is the absolute error; see `evaluation.crps`. Source: Gneiting and Raftery 2007, eq. 21.
    """

    def of(self, found: Predictions, targets: np.ndarray) -> float:
        return float(crps(found.draws.swapaxes(0, 1), targets).mean())
