"""TSTR: train a classifier on synthetic rows, test it on real ones."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict

MOST = 10_000  # rows that are learned from, and that are told


@dataclass(frozen=True)
class TSTR(Metric):
    """The ROC AUC on held-out rows of a classifier trained on samples, mean over classes (0.5 is chance, 1 perfect).

    The target is the label, or else the last categorical column, those that mark missing numbers left out. The
    classifier is histogram gradient boosting; for the floor it is trained on as many training rows. Detail: accuracies,
    and the difference of value and floor.
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
    """The mean ROC AUC and the accuracy on other rows of a classifier trained on rows x with the classes y.

    categorical: booleans (columns,). A class that was not trained on has the probability 0; classes of none or of
    all of the test rows have no curve.
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
