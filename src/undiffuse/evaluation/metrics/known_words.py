"""Known words: how many words occur in the training text."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from undiffuse.codecs.text import words
from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict


@dataclass(frozen=True)
class KnownWords(Metric):
    """The share of words that occur in the training text, without the first and last of an item, which may be cut."""

    needs: ClassVar[str] = "texts"
    texts: ClassVar[bool] = True

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`known_words`; detail: examples of unknown words."""
        samples, held_out, train = ([inner(text) for text in part] for part in evidence.texts)
        known = {word for words in train for word in words}
        written, real = ([word for words in part for word in words] for part in (samples, held_out))
        value, floor = (sum(word in known for word in part) / max(1, len(part)) for part in (written, real))
        unknown = list(dict.fromkeys(word for word in written if word not in known))
        judged = verdict(
            value, floor, better="higher", count=evidence.count, seed=evidence.seed,
            words=len(written), known=len(known), unknown=unknown[:20],
        )  # fmt: skip
        return {"known_words": judged}


def inner(text: str) -> Iterable[str]:
    """The words of a text but the first and the last."""
    return [word for word in words(text) if any(map(str.isalnum, word))][1:-1]
