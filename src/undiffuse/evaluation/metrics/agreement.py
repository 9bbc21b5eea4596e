"""Agreement: does a classifier trained on real data read the class that was asked for?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict

GOOD = 0.97


@dataclass(frozen=True)
class Agreement(Metric):
    """The share of samples that are read as the class asked for; the floor is the same for held-out data."""

    needs: ClassVar[str] = "classes, of samples and of data"

    def applies(self, evidence: Evidence) -> bool:
        """Where the samples were asked for by class and the real data have classes."""
        labels = (evidence.labels, evidence.held_out_labels, evidence.train_labels)
        return all(each is not None for each in labels)

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`agreement`; detail: its standard error, and the share for each class asked for."""
        right = evidence.read == evidence.labels
        right_held_out = evidence.read_held_out == evidence.held_out_labels
        accuracy = float(right_held_out.mean())
        asked = np.asarray(evidence.labels)
        judged = verdict(
            float(right.mean()), accuracy, better="higher", count=len(right), seed=evidence.seed,
            warning=f"the classifier itself reads only {accuracy:.1%} of held-out data" if accuracy < GOOD else "",
            standard_error=float(right.std() / np.sqrt(len(right))), held_out_count=len(right_held_out),
            classes={evidence.classes[c]: float(right[asked == c].mean()) for c in np.unique(asked)},
        )  # fmt: skip
        return {"agreement": judged}
