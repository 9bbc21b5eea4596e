"""Classifier two-sample test: can a classifier learn to tell samples from real data?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.features.components import fit_projection
from undiffuse.evaluation.metrics.classifier import train_classifier
from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import NO_FLOOR, Metric, verdict

MOST = 2500
DOUBTED = 4  # standard errors


@dataclass(frozen=True)
class C2ST(Metric):
    """The accuracy of a classifier that tells samples from real data on items it was not trained on: 1/2 is ideal.

    The classifier is a support vector machine on up to 64 principal components of the features, each brought to
    deviation 1 before; it learns from one half and is tried on the other, and the other way round. The floor tells
    training items from held-out ones. Source: arXiv:1610.06545, eq. 2.

    Standard error where both have one law, n items a side: sqrt(1 + 2/pi) / (2 sqrt(2n)). The two halves are not
    independent: both accuracies are sums of y_i y_j k(x_i, x_j) with a sign taken on one side, and a sign keeps 2/pi of
    the variance of a Gaussian, which is their correlation.
    """

    needs: ClassVar[str] = "nothing"

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`c2st`; detail: the standard error of value and floor where both have one law."""
        count = min(evidence.count, MOST)
        error = standard_error(count)
        found = [
            [c2st(part, draw.held_out, evidence.random(5, i)) for part in (draw.samples, draw.train)]
            for i, draw in enumerate(evidence.draws(evidence.vectors, MOST, total=2 * MOST))
        ]
        values, floors = np.array(found).T
        few = evidence.few(500, "the classifier learns from half of them, and misses what is subtle")
        judged = verdict(
            values, floors, better="lower", count=count, seed=evidence.seed,
            warning=NO_FLOOR if floors.mean() > 0.5 + DOUBTED * error else few,
            standard_error=error, floor_standard_error=error,
            **evidence.about,
        )  # fmt: skip
        return {"c2st": judged}


def standard_error(count: int) -> float:
    """The standard deviation of `c2st` with `count` items a side of one law."""
    return float(np.sqrt(1 + 2 / np.pi) / (2 * np.sqrt(2 * count)))


def c2st(samples: np.ndarray, real: np.ndarray, random: np.random.Generator) -> float:
    """The accuracy on items that were not trained on; samples, real: (count, features) each, equally many."""
    count = len(samples)
    both = np.concatenate([samples, real])
    spread = both.std(0)
    both = both / np.where(spread > 0, spread, 1.0)
    both = fit_projection(both, 64)(both)  # looks at no label, so that nothing is given away
    labels = np.repeat([0, 1], [count, len(real)])
    halves = [np.array_split(random.permutation(np.flatnonzero(labels == label)), 2) for label in (0, 1)]
    first, second = (np.concatenate(pair) for pair in zip(*halves, strict=True))
    right = [
        train_classifier(both[learn], labels[learn], strictness=1.0)(both[rest]) == labels[rest]
        for learn, rest in ((first, second), (second, first))
    ]
    return float(np.concatenate(right).mean())
