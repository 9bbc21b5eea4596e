"""Confident accuracy: how often the likeliest class is right where the draws tell it from the next one."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict
from undiffuse.sampling.predictions import ALPHA, Predictions

SHARES = tuple(range(100, 0, -5))  # of items that are kept, in per cent


@dataclass(frozen=True)
class ConfidentAccuracy(Metric):
    """The share of items whose likeliest class is right, among those whose paired t-test has p < `alpha`.

    In detail the share that is kept so, the accuracy among the rest, and the accuracy at each share that is kept in the
    order of the likeliest class's chance: the abstention curve. Source: arXiv:2206.07275, sec. 4.2.
    """

    needs: ClassVar[str] = "a run that predicts a class"
    predictions: ClassVar[bool] = True

    alpha: float = ALPHA

    def applies(self, evidence: Evidence) -> bool:
        """Where classes are predicted."""
        return evidence.predicted is not None and evidence.predicted.found.classes

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """The verdict, `confident_accuracy`."""
        asked: Any = evidence.predicted
        value, kept, rest = self._of(asked.found, asked.targets)
        floors = np.array([self._of(found, targets)[0] for found, targets in asked.pairs()])
        judged = verdict(
            value, floors, better="higher", count=len(asked.targets), seed=evidence.seed, kept=kept, rest=rest,
            curve=curve(asked.found, asked.targets),
        )  # fmt: skip
        return {"confident_accuracy": judged}

    def _of(self, found: Predictions, targets: np.ndarray) -> tuple[float, float, float | None]:
        """The accuracy of those that are kept, their share, and the accuracy of the others."""
        right, sure = found.best == targets.argmax(1), found.p_values < self.alpha
        of_sure = float(right[sure].mean()) if sure.any() else 0.0
        return of_sure, float(sure.mean()), None if sure.all() else float(right[~sure].mean())


def curve(found: Predictions, targets: np.ndarray) -> dict[str, list[float]]:
    """The accuracy of the items with the surest likeliest class, at each share of them in per cent."""
    right = (found.best == targets.argmax(1))[np.argsort(-found.probabilities.max(1), kind="stable")]
    counts = [max(1, len(right) * share // 100) for share in SHARES]
    return {"kept": [float(s) for s in SHARES], "accuracy": [float(right[:count].mean()) for count in counts]}
