"""Known n-grams: how many short runs of characters or words occur in the training text."""

from dataclasses import dataclass
from typing import Any, ClassVar

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.grams import among, distinct, grams
from undiffuse.evaluation.metrics.metric import Metric, verdict

SINGLE, WHOLE = 8, 3  # tokens of a run, where a token is a character or byte, and where it is a word or a part of one


@dataclass(frozen=True)
class KnownNgrams(Metric):
    """The share of runs of 8 characters (3 words or a tokenizer's tokens) that occur in the training text.

    The floor is that of held-out text: far below it samples are no language, far above it they are copies.
    """

    needs: ClassVar[str] = "texts"
    texts: ClassVar[bool] = True

    def applies(self, evidence: Evidence) -> bool:
        """Where an item has as many tokens as a run."""
        return evidence.items.train.shape[1] >= self._size(evidence)

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`known_ngrams`."""
        size = self._size(evidence)
        known = distinct(evidence.items.train, size)
        value, floor = (
            float(among(grams(part, size), known).mean()) for part in (evidence.items.samples, evidence.items.held_out)
        )
        judged = verdict(
            value, floor, better="higher", count=evidence.count, seed=evidence.seed,
            warning="more than of held-out text: is it copied?" if value > floor + 0.1 else "",
            run=size, known=len(known),
        )  # fmt: skip
        return {"known_ngrams": judged}

    def _size(self, evidence: Evidence) -> int:
        return SINGLE if evidence.letters else WHOLE
