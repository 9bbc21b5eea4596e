"""Precision: are samples like real data? Recall: are all kinds of real data among the samples?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.balls import in_balls
from undiffuse.evaluation.metrics.distances import covered, radii
from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric


@dataclass(frozen=True)
class PrecisionRecall(Metric):
    """The share of samples inside balls around real items (precision), and the reverse (recall).

    A ball reaches from an item to its k-th nearest neighbour in its own set. Both depend on the count; higher is
    better. Source: arXiv:1904.06991, eq. 1 and 2.
    """

    neighbours: int = 3
    aliases: ClassVar[tuple[str, ...]] = ("precision", "recall")
    needs: ClassVar[str] = "nothing"

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`precision` and `recall` of samples against held-out data; floor: of as many training items."""
        return in_balls(evidence, self.neighbours, self._shares, ("precision", "recall"))

    def _shares(self, real: np.ndarray, balls: np.ndarray, samples: np.ndarray) -> tuple[float, float]:
        precision = covered(samples, real, balls).mean()
        recall = covered(real, samples, radii(samples, self.neighbours)).mean()
        return float(precision), float(recall)


def precision_recall(real: np.ndarray, samples: np.ndarray, neighbours: int = 3) -> tuple[float, float]:
    """Precision and recall of samples against real items, (count, features) each."""
    real, samples = real.astype(np.float64), samples.astype(np.float64)
    return PrecisionRecall(neighbours)._shares(real, radii(real, neighbours), samples)
