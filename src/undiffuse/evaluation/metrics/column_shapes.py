"""Column shapes: how far the distribution of each column of a mixed table is from that of the data."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict


@dataclass(frozen=True)
class ColumnShapes(Metric):
    """The mean distance between the columns' distributions in samples and data, from 0 to 1.

    The distance is Kolmogorov and Smirnov's for numeric columns, the greatest difference of the distribution functions,
    and total variation for categorical ones. Associations between columns are not measured.
    """

    needs: ClassVar[str] = "a table with categories"

    def applies(self, evidence: Evidence) -> bool:
        """To tables with categories."""
        return bool(evidence.categories)

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`column_shapes`, in detail with value and floor of every column, the farthest from its floor first."""
        found = np.array(
            [
                [shapes(part, draw.held_out, evidence.categories) for part in (draw.samples, draw.train)]
                for draw in evidence.draws(evidence.items)
            ]
        )  # (draws, samples or train, columns)
        value, floor = found.mean(0)
        judged = verdict(
            found[:, 0].mean(1), found[:, 1].mean(1),
            better="lower", count=min(evidence.count, 50_000), seed=evidence.seed,
            columns={
                evidence.columns[i]: {"value": float(value[i]), "floor": float(floor[i])}
                for i in np.argsort(floor - value)
            },
        )  # fmt: skip
        return {"column_shapes": judged}


def shapes(x: np.ndarray, y: np.ndarray, categories: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """The distance of each column of two tables, (columns,)."""
    pairs = zip(x.T, y.T, categories, strict=True)
    return np.array([total_variation(a, b, len(names)) if names else kolmogorov(a, b) for a, b, names in pairs])


def kolmogorov(x: np.ndarray, y: np.ndarray) -> float:
    """max |F_x - F_y|, over all numbers that come."""
    at = np.concatenate([x, y])
    below = [np.searchsorted(np.sort(part), at, side="right") / len(part) for part in (x, y)]
    return float(np.abs(below[0] - below[1]).max())


def total_variation(x: np.ndarray, y: np.ndarray, count: int) -> float:
    """1/2 sum |p_x - p_y| over the categories 0 ... count - 1."""
    shares = [np.bincount(part.astype(np.int64), minlength=count) / len(part) for part in (x, y)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)
