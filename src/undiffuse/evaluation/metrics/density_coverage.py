"""Density and coverage: precision and recall that a single outlier cannot spoil."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.balls import in_balls
from undiffuse.evaluation.metrics.distances import inside, radii
from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric


@dataclass(frozen=True)
class DensityCoverage(Metric):
    """Density: the mean number of balls around a sample, over k. Coverage: the share of balls with a sample.

    The ball around a real item reaches to its k-th nearest real neighbour. Density exceeds 1 where samples crowd into
    dense regions. Both are best at their floors, about 1 and 1 - 2^-k. Source: arXiv:2002.09797, eq. 3 and 4.
    """

    neighbours: int = 5
    aliases: ClassVar[tuple[str, ...]] = ("density", "coverage")
    needs: ClassVar[str] = "nothing"

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`density` and `coverage` of samples against held-out data; floor: of as many training items."""
        return in_balls(evidence, self.neighbours, self._both, ("density", "coverage"))

    def _both(self, real: np.ndarray, balls: np.ndarray, samples: np.ndarray) -> tuple[float, float]:
        holds = inside(samples, real, balls)
        return float(holds.sum() / (self.neighbours * len(samples))), float((holds > 0).mean())


def density_coverage(real: np.ndarray, samples: np.ndarray, neighbours: int = 5) -> tuple[float, float]:
    """Density and coverage of samples against real items, (count, features) each."""
    real, samples = real.astype(np.float64), samples.astype(np.float64)
    return DensityCoverage(neighbours)._both(real, radii(real, neighbours), samples)
