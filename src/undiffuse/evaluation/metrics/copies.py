"""Copies: how many texts repeat long passages of the training text word for word."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.grams import among, distinct, grams
from undiffuse.evaluation.metrics.metric import Metric, verdict

SINGLE, WHOLE = 40, 10  # tokens that are no chance, where a token is a character or byte, and where it is more


@dataclass(frozen=True)
class Copies(Metric):
    """The share of samples that contain 40 consecutive characters (10 words or tokens) of a training item.

    The floor is the share of held-out texts that do, since authors repeat themselves.
    """

    needs: ClassVar[str] = "texts"
    texts: ClassVar[bool] = True

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`copies`; detail: how many samples equal a whole training item, and how many equal another sample."""
        x = evidence.items
        size = min(SINGLE if evidence.letters else WHOLE, x.train.shape[1])
        known = distinct(x.train, size)
        value, floor = (float(among(grams(part, size), known).any(1).mean()) for part in (x.samples, x.held_out))
        items = distinct(x.train, x.train.shape[1])
        own = grams(x.samples, x.train.shape[1])
        judged = verdict(
            value, floor, better="lower", count=evidence.count, seed=evidence.seed,
            run=size, whole=int(among(own, items).sum()), repeated=len(own) - len(np.unique(own)),
        )  # fmt: skip
        return {"copies": judged}
