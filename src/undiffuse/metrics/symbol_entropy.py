"""Entropy of the symbols: whether what is written uses all of them, as the text does."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.metrics.evidence import Evidence
from undiffuse.metrics.metric import Metric, verdict


@dataclass(frozen=True)
class SymbolEntropy(Metric):
    """-sum p log2 p of the shares p of the symbols among all tokens, in bits.

    Samples that say the same few things over and over, as those of too low a temperature do, stay below the floor.
    """

    needs: ClassVar[str] = "texts"
    texts: ClassVar[bool] = True

    def applies(self, evidence: Evidence) -> bool:
        """To every text."""
        return evidence.reader is not None

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`symbol_entropy`."""
        value, floor = (entropy(part) for part in (evidence.items.samples, evidence.items.held_out))
        return {"symbol_entropy": verdict(value, floor, better="higher", count=evidence.count, seed=evidence.seed)}


def entropy(x: np.ndarray) -> float:
    """In bits, of tokens of any shape."""
    _, counts = np.unique(x, return_counts=True)
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum())
