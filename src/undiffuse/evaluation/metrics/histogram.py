"""Histogram: does every class get its share?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict


@dataclass(frozen=True)
class Histogram(Metric):
    """Half the sum over classes of |share of samples - expected share|, from 0 (equal) to 1 (disjoint).

    A classifier reads the classes of samples. Expected is the share among the classes asked for, or among the training
    data where none were. The floor is the same distance for as many held-out items, read by the same classifier,
    against their own labels or the training data's. It is near 0, so there is no ratio.
    """

    needs: ClassVar[str] = "data with classes"

    def applies(self, evidence: Evidence) -> bool:
        """Where the real data have classes."""
        return evidence.held_out_labels is not None and evidence.train_labels is not None

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`histogram`, in detail with the share of each class among the samples as read and as it should be."""
        read, read_held_out = evidence.read, evidence.read_held_out
        target = np.asarray(evidence.train_labels if evidence.labels is None else evidence.labels)
        true = np.asarray(evidence.train_labels if evidence.labels is None else evidence.held_out_labels)
        count = min(len(read), len(read_held_out))
        found = []
        for repeat in range(20):
            random = evidence.random(4, repeat)
            here, there = (random.choice(len(labels), count, replace=False) for labels in (read, read_held_out))
            wanted, real = (target, true) if evidence.labels is None else (target[here], true[there])
            found.append(
                (self._distance(read[here], wanted, evidence), self._distance(read_held_out[there], real, evidence))
            )
        values, floors = np.array(found).T
        judged = verdict(
            values, floors, better="lower", count=count, seed=evidence.seed,
            read=self._named(read, evidence), wanted=self._named(target, evidence),
        )  # fmt: skip
        return {"histogram": judged | {"ratio": None}}

    def _named(self, labels: np.ndarray, evidence: Evidence) -> dict[str, float]:
        return dict(zip(evidence.classes, self._shares(labels, evidence).tolist(), strict=True))

    def _shares(self, labels: np.ndarray, evidence: Evidence) -> np.ndarray:
        counts = np.bincount(labels, minlength=len(evidence.classes))
        return counts / counts.sum()

    def _distance(self, read: np.ndarray, target: np.ndarray, evidence: Evidence) -> float:
        return float(np.abs(self._shares(read, evidence) - self._shares(target, evidence)).sum() / 2)
