"""Columns: the Wasserstein distance of each column of a table."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict
from undiffuse.evaluation.metrics.sliced_wasserstein import quantile_gaps


@dataclass(frozen=True)
class ColumnsMetric(Metric):
    """The 1-Wasserstein distance of each numeric column, in standard deviations of the training data, and their mean.

    Associations between columns are not measured. A column that is constant in the training data is measured in its
    own units.
    """

    needs: ClassVar[str] = "points or a table of numbers"

    def applies(self, evidence: Evidence) -> bool:
        """To points and tables without categories."""
        return not evidence.is_image and not evidence.categories

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`columns`, in detail with value and floor of every column, the farthest from its floor first."""
        draws = evidence.draws(evidence.coordinates)
        found = np.array(
            [[wasserstein(part, draw.held_out) for part in (draw.samples, draw.train)] for draw in draws]
        )  # (draws, samples or train, columns)
        value, floor = found.mean(0)
        names = evidence.columns or tuple(f"column {i}" for i in range(len(value)))
        train = evidence.items.train
        constant = [names[i] for i in np.flatnonzero(train.min(0) == train.max(0))]
        judged = verdict(
            found[:, 0].mean(1), found[:, 1].mean(1),
            better="lower", count=min(evidence.count, 50_000), seed=evidence.seed,
            warning=f"constant in the training data: {', '.join(constant[:5])}" if constant else "",
            features="coordinates",
            columns={
                names[i]: {"value": float(value[i]), "floor": float(floor[i])} for i in np.argsort(floor - value)
            },
        )  # fmt: skip
        return {"columns": judged}


def wasserstein(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The integral of |quantile of x - quantile of y| for each column, (features,); counts may differ."""
    widths, gaps = quantile_gaps(x, y)
    return widths @ np.abs(gaps)
