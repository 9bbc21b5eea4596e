"""The interface of metrics: a number for samples and its floor, the same number for real data."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence

NO_FLOOR = (
    "the floor contradicts itself: training and held-out items differ more than two parts of one law do, so that it is "
    "no floor for samples; are the two parts of different origin?"
)


class Metric(ABC):
    """Compares samples with held-out data and, as the floor, training data with them, at the same counts.

    needs: what `applies` asks for, in words. texts: whether the metric is for texts only. predictions: whether it
    compares predictions with what came true. of_sets: whether it is of sets of points, in whatever order they stand.
    """

    needs: ClassVar[str] = ""
    texts: ClassVar[bool] = False
    predictions: ClassVar[bool] = False
    of_sets: ClassVar[bool] = False

    def applies(self, evidence: Evidence) -> bool:
        """Whether the evidence has what the metric needs (labels, points ...)."""
        return evidence.reader is not None or not self.texts

    @abstractmethod
    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """A verdict for each number that comes out, by its name."""


def verdict(
    values: np.ndarray | float,
    floors: np.ndarray | float,
    *,
    better: str,
    count: int,
    seed: int,
    warning: str = "",
    **detail: Any,
) -> dict[str, Any]:
    """One number in JSON's types.

    value, floor: means over the repeated draws; spread, floor_spread: their standard deviations from draw to draw;
    ratio: value / floor, None where the floor is not above 0; better: "lower" or "higher" values; count: items a side;
    warning: why to be careful, or empty; detail: further numbers.
    """
    value, floor = float(np.mean(values)), float(np.mean(floors))
    return {
        "value": value,
        "floor": floor,
        "ratio": value / floor if floor > 0 else None,
        "better": better,
        "spread": float(np.std(values)),
        "floor_spread": float(np.std(floors)),
        "count": count,
        "repeats": int(np.size(values)),
        "seed": seed,
        "warning": warning,
        "detail": detail,
    }
