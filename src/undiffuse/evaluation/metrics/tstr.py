"""Usefulness: do samples teach a classifier as much as the data that they stand for?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict

MOST = 10_000  # rows that are learned from, and that are told


@dataclass(frozen=True)
class TSTR(Metric):
    """Learn from samples, be tried on held-out rows: how well the target is told, as the area under the curve of true
    against false positives, the mean over the classes (0.5 is a guess, 1 never errs).

    The target is the label, or else the last categorical column that does not say where another one's numbers were
    missing. The classifier is gradient boosting on histograms; the
    floor has learned from equally many training rows. Detail: the same as accuracy, and how far value and floor are
    apart.
    """

    aliases: ClassVar[tuple[str, ...]] = ("usefulness", "train_on_synthetic_test_on_real")
    needs: ClassVar[str] = "a table with named columns and a label, or a categorical column beside others"

    def applies(self, evidence: Evidence) -> bool:
        """To tables with a label or a categorical column to tell."""
        return bool(evidence.columns) and _parts(evidence) is not None

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`tstr`."""
        parts = _parts(evidence)
        assert parts is not None, "it applies"
        name, kinds, (samples, held_out, train) = parts
        count = min(len(samples[1]), len(train[1]), MOST)
        repeats = 3 if count < len(samples[1]) or count < len(train[1]) else 1
        told = (held_out[0][:MOST], held_out[1][:MOST])
        found = []
        for repeat in range(repeats):
            random = evidence.random(7, repeat)
            chosen = [random.permutation(len(part[1]))[:count] for part in (samples, train)]
            found.append(
                [
                    score(part[0][rows], part[1][rows], *told, kinds)
                    for part, rows in zip((samples, train), chosen, strict=True)
                ]
            )
        value, floor = np.array(found).transpose(1, 2, 0)  # (auc and accuracy, repeats) each
        judged = verdict(
            value[0], floor[0], better="higher", count=count, seed=evidence.seed,
            warning=evidence.few(200, "the classifier learns little from them"),
            target=name, apart=float(value[0].mean() - floor[0].mean()),
            accuracy={"value": float(value[1].mean()), "floor": float(floor[1].mean())},
        )  # fmt: skip
        return {"tstr": judged}


def score(
    x: np.ndarray, y: np.ndarray, x_told: np.ndarray, y_told: np.ndarray, categorical: np.ndarray
) -> tuple[float, float]:
    """What was learned from rows x with the classes y, tried on others: the mean area under the curve, and accuracy.

    categorical: booleans (columns,). A class that was never learned is told with no chance; classes that are not among
    the rows to be told, or are all of them, have no curve.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    classes = np.unique(y)
    chance = np.zeros((len(y_told), int(max(y.max(), y_told.max())) + 1))
    if len(classes) < 2:
        chance[:, classes] = 1.0
    else:
        settings: Any = {"categorical_features": categorical, "early_stopping": False}
        learner = HistGradientBoostingClassifier(max_iter=50, learning_rate=0.1, random_state=0, **settings)
        chance[:, classes] = learner.fit(x, y).predict_proba(x_told)
    there = [c for c in np.unique(y_told) if 0 < (y_told == c).sum() < len(y_told)]
    curves = [float(roc_auc_score(y_told == c, chance[:, c])) for c in there]
    return float(np.mean(curves)) if curves else 0.5, float((chance.argmax(1) == y_told).mean())


Part = tuple[np.ndarray, np.ndarray]  # rows and their classes


def _parts(evidence: Evidence) -> tuple[str, np.ndarray, tuple[Part, Part, Part]] | None:
    """The target's name, which columns are categorical, and samples, held-out and training rows with their classes."""
    columns = np.arange(evidence.items.train.shape[-1])
    kinds = np.array([0 < len(names) <= 255 for names in evidence.categories or ((),) * len(columns)])
    labels = (evidence.labels, evidence.held_out_labels, evidence.train_labels)
    if all(each is not None for each in labels):
        found: Any = tuple(zip(evidence.items, labels, strict=True))
        return "label", kinds, found
    added = {f"{name} missing" for name in evidence.columns}  # as a table calls them where it fills in numbers
    kept = [name not in added for name in evidence.columns]
    targets = [i for i, names in enumerate(evidence.categories) if len(names) > 1 and kept[i]]
    if not targets or len(columns) < 2:
        return None
    rest = columns != targets[-1]
    found = tuple((part[:, rest], part[:, targets[-1]].astype(np.int64)) for part in evidence.items)
    return evidence.columns[targets[-1]], kinds[rest], found
