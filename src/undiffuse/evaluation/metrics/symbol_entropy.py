"""Entropy of the symbols: whether texts use them as evenly as held-out text does."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict


@dataclass(frozen=True)
class SymbolEntropy(Metric):
    """The absolute difference of the entropy -sum p log2 p of symbol frequencies from held-out text's, in bits.

    Repetitive samples, as from too low a temperature, have a lower entropy than the text, and noise has a higher one.
    Detail: the entropies of samples and of held-out text.
    """

    needs: ClassVar[str] = "texts"
    texts: ClassVar[bool] = True

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`symbol_entropy`."""
        draws = evidence.draws(evidence.items, most=10_000, total=20_000)
        samples, held_out, train = np.array([[entropy(part) for part in draw] for draw in draws]).T
        judged = verdict(
            np.abs(samples - held_out), np.abs(train - held_out),
            better="lower", count=min(evidence.count, 10_000), seed=evidence.seed,
            bits={"samples": float(samples.mean()), "held_out": float(held_out.mean())},
        )  # fmt: skip
        return {"symbol_entropy": judged}


def entropy(x: np.ndarray) -> float:
    """In bits, of tokens of any shape."""
    _, counts = np.unique(x, return_counts=True)
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum())
