"""Inception score: is each sample clearly of one class, and are all classes drawn?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict

SPLITS = 10


@dataclass(frozen=True)
class InceptionScore(Metric):
    """exp of the mean KL(p(class | sample), p(class)), averaged over ten parts; the floor is held-out data's score.

    The parts are random ones, so that items that lie sorted by their class score the same. It does not look at real
    data, so a model that memorised them scores best. Source: arXiv:1606.03498, sec. 4.
    """

    aliases: ClassVar[tuple[str, ...]] = ("is",)
    needs: ClassVar[str] = "--features inception"

    def applies(self, evidence: Evidence) -> bool:
        """With features that name classes."""
        return evidence.probabilities is not None

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`inception_score`; its spread is that over the ten parts."""
        assert evidence.probabilities is not None, "`applies` was asked before"
        random, count = evidence.random(12), evidence.count
        samples, held_out, _ = (part[random.permutation(len(part))[:count]] for part in evidence.probabilities)
        values, floors = inception_scores(samples), inception_scores(held_out)
        warning = evidence.few(10_000, "the score is biased downwards, so read it only beside its floor")
        common = {"better": "higher", "count": evidence.count, "seed": evidence.seed, "warning": warning}
        return {"inception_score": verdict(values, floors, **common, splits=SPLITS, **evidence.about)}


def inception_scores(probabilities: np.ndarray, splits: int = SPLITS) -> np.ndarray:
    """The score of each of `splits` parts of (count, classes), in their order."""
    scores = []
    for part in np.array_split(probabilities, splits):
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(part > 0, part * (np.log(part) - np.log(part.mean(0))), 0)
        scores.append(np.exp(terms.sum(1).mean()))
    return np.array(scores)
