"""Frechet distance extrapolated to infinitely many samples: without the bias that few samples bring."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import USUAL_DIMENSIONS, Evidence, Parts
from undiffuse.evaluation.metrics.frechet import frechet_both
from undiffuse.evaluation.metrics.metric import Metric, verdict

PARTS = (1, 2, 4)  # the items are taken together, in halves and in quarters
MOST_PARTS = 2  # of each, in more than 64 dimensions, where a distance takes a second
DIMENSIONS = 2  # fewer items than so many times the dimensions, and the bias is no straight line any more


@dataclass(frozen=True)
class FrechetInfinity(Metric):
    """The intercept a of a straight line, distance = a + b / N, through distances between N and N items.

    Source: arXiv:1911.07023, sec. 3. There only the samples' number varies; here both sides' does, so that real data
    come to 0 on average, of either sign, and there is no ratio: compare the value with its standard error.
    """

    needs: ClassVar[str] = "40 items a side"

    def applies(self, evidence: Evidence) -> bool:
        """Where a quarter of the items has ten."""
        return evidence.count >= 10 * PARTS[-1]

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`frechet_infinity`: samples to held-out data, in detail with the standard errors of value and floor."""
        found = np.array([self._lines(draw) for draw in evidence.draws(evidence.vectors, total=40_000)])
        values, errors, floors, floor_errors = found.T
        least = PARTS[-1] * DIMENSIONS * evidence.vectors.train.shape[1]
        judged = verdict(
            values, floors, better="lower", count=min(evidence.count, 50_000), seed=evidence.seed,
            warning=evidence.few(least, "the bias is no straight line in 1 / count, and what is extrapolated is rough"),
            standard_error=float(errors.mean()), floor_standard_error=float(floor_errors.mean()),
            sizes=[min(evidence.count, 50_000) // parts for parts in PARTS], **evidence.about,
        )  # fmt: skip
        return {"frechet_infinity": judged | {"ratio": None}}

    def _lines(self, draw: Parts) -> tuple[float, float, float, float]:
        count = len(draw.train)
        inverse, pairs = [], []
        for parts in PARTS:
            size = count // parts
            for i in range(parts if draw.train.shape[1] <= USUAL_DIMENSIONS else min(parts, MOST_PARTS)):
                inverse.append(1 / size)
                pairs.append(frechet_both(*(part[i * size : (i + 1) * size] for part in draw)))
        values, floors = np.array(pairs).T
        return (*intercept(np.array(inverse), values), *intercept(np.array(inverse), floors))


def intercept(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Where the straight line of least squares through y meets x = 0, and its standard error.

    The error takes the points as independent. Parts of the same items are not quite: it is up to about twice too large.
    """
    centred = x - x.mean()
    slope = (centred @ y) / (centred @ centred)
    start = y.mean() - slope * x.mean()
    residual = ((y - start - slope * x) ** 2).sum() / (len(x) - 2)
    return float(start), float(np.sqrt(residual * (1 / len(x) + x.mean() ** 2 / (centred @ centred))))
