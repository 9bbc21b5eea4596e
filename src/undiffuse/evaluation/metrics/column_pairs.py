"""Column pairs: are columns associated with each other as they are in the data?"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict


@dataclass(frozen=True)
class ColumnPairs(Metric):
    """The mean difference between the associations of column pairs in the samples and in the data.

    The association of two numeric columns is their rank correlation (-1 to 1), of two categorical columns Cramer's V
    (0 to 1), and of one of each the correlation ratio (0 to 1).
    """

    needs: ClassVar[str] = "a table with two or more named columns"

    def applies(self, evidence: Evidence) -> bool:
        """To tables of two or more columns with names."""
        return len(evidence.columns) > 1

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`column_pairs`, in detail with value and floor of every pair, the farthest from its floor first."""
        kinds = evidence.categories or ((),) * len(evidence.columns)
        found = []
        for draw in evidence.draws(evidence.items, most=10_000, total=20_000):
            here, *others = (associations(part, kinds) for part in (draw.held_out, draw.samples, draw.train))
            found.append([np.abs(other - here) for other in others])
        each = np.array(found)  # (draws, samples or train, pairs)
        value, floor = each.mean(0)
        names = [" and ".join(pair) for pair in combinations(evidence.columns, 2)]
        judged = verdict(
            each[:, 0].mean(1), each[:, 1].mean(1),
            better="lower", count=min(evidence.count, 10_000), seed=evidence.seed,
            columns={names[i]: {"value": float(value[i]), "floor": float(floor[i])} for i in np.argsort(floor - value)},
        )  # fmt: skip
        return {"column_pairs": judged}


def associations(x: np.ndarray, categories: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """The association of each pair of columns, in the order of `combinations`, (pairs,)."""
    ready = [
        column.astype(np.int64) if names else _ranks(column) for column, names in zip(x.T, categories, strict=True)
    ]
    found = []
    for (a, first), (b, second) in combinations(zip(ready, categories, strict=True), 2):
        if first and second:
            found.append(cramers_v(a, b))
        elif first or second:
            found.append(correlation_ratio(a, b) if first else correlation_ratio(b, a))
        else:
            found.append(_correlation(a, b))
    return np.array(found)


def cramers_v(x: np.ndarray, y: np.ndarray) -> float:
    """sqrt(chi^2 / n / (min(rows, columns) - 1)) of the table of two categorical columns; 0 where one is constant."""
    counts = np.zeros((x.max() + 1, y.max() + 1))
    np.add.at(counts, (x, y), 1)
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / len(x)
    least = min(counts.shape) - 1
    return float(np.sqrt(((counts - expected) ** 2 / expected).sum() / len(x) / least)) if least else 0.0


def correlation_ratio(groups: np.ndarray, x: np.ndarray) -> float:
    """sqrt(variance of the groups' means / variance of all), 0 where nothing varies."""
    counts = np.bincount(groups)
    means = np.bincount(groups, x) / np.maximum(counts, 1)
    spread = float(x.var())
    return float(np.sqrt((counts * (means - x.mean()) ** 2).sum() / len(x) / spread)) if spread > 0 else 0.0


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    scale = float(x.std() * y.std())
    return float(((x - x.mean()) * (y - y.mean())).mean() / scale) if scale > 0 else 0.0


def _ranks(x: np.ndarray) -> np.ndarray:
    """The rank of each number; equal numbers share their mean rank."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]
