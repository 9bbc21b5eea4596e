"""Pitch: do sounds have the pitch of the note that was asked for?"""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict
from undiffuse.evaluation.pitch import periods

NOTE = re.compile(r"[A-G][#b]?-?\d")


@dataclass(frozen=True)
class Pitch(Metric):
    """The share of samples whose measured pitch is nearer to that of the note asked for than to any other note's; the
    floor is the same for held-out sounds.

    A note's pitch is the middle one measured of training sounds. Detail: how far samples are off, in hundredths of a
    half tone, in the middle. No classifier is trained: see `pitch.periods`.
    """

    needs: ClassVar[str] = "sounds whose classes are notes, such as A4 and C#5"

    def applies(self, evidence: Evidence) -> bool:
        """To sounds of one channel that were asked for by notes."""
        labels = (evidence.labels, evidence.held_out_labels, evidence.train_labels)
        notes = all(NOTE.fullmatch(name) for name in evidence.classes) and len(evidence.classes) > 1
        return notes and evidence.items.train.ndim == 3 and all(each is not None for each in labels)

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`pitch`."""
        labels: Any = (evidence.labels, evidence.held_out_labels, evidence.train_labels)
        heights = [-12 * np.log2(periods(part.mean(1))) for part in evidence.items]  # half tones
        known = np.array([np.nanmedian(heights[2][labels[2] == c]) for c in range(len(evidence.classes))])
        found = [_read(height, label, known) for height, label in zip(heights, labels, strict=True)][:2]
        (right, cents), (right_held_out, cents_held_out) = found
        judged = verdict(
            float(right.mean()), float(right_held_out.mean()), better="higher", count=len(right), seed=evidence.seed,
            standard_error=float(right.std() / np.sqrt(len(right))), cents=cents, cents_held_out=cents_held_out,
        )  # fmt: skip
        return {"pitch": judged}


def _read(heights: np.ndarray, labels: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, float]:
    """Whether each sound has its note, (count,), and how far they are off in the middle. known: the notes' heights."""
    off = np.abs(heights[:, None] - known)
    right = (np.where(np.isfinite(off), off, np.inf).argmin(1) == labels) & np.isfinite(heights)
    return right, 100 * float(np.nanmedian(off[np.arange(len(off)), labels]))
