"""Frechet distance of the frames of videos, one frame of each, whatever they do from frame to frame."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.frechet import frechet_both
from undiffuse.evaluation.metrics.metric import Metric, verdict

REPEATS = 4
STREAM = 77  # of the random choice of frames


@dataclass(frozen=True)
class FrameFrechet(Metric):
    """The distance of `frechet` between single frames, one drawn of each video, in the features that were asked for.

    It does not see how frames follow one another, which `frame_change` does; `frechet` itself compares whole videos.
    Mean over REPEATS draws of frames.
    """

    needs: ClassVar[str] = "videos"

    def applies(self, evidence: Evidence) -> bool:
        return evidence.videos

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`frame_frechet`; floor: frames of as many training videos that the features did not learn from."""
        count = min(evidence.count, len(evidence.items.train) // 2)
        train, learnt = evidence.items.train[:count], evidence.items.train[count:]
        features = evidence.chosen.limited(count).fit(_frames(learnt, evidence.random(STREAM)))
        found: list[tuple[float, float]] = []
        for i in range(REPEATS):
            random = evidence.random(STREAM, i)
            parts = (evidence.items.samples[:count], evidence.items.held_out[:count], train)
            found.append(frechet_both(*(features(_frames(part, random)) for part in parts)))
        pairs = np.array(found)
        warning = evidence.few(evidence.enough, "the distance is biased upwards, so read it only beside its floor")
        judged = verdict(pairs[:, 0], pairs[:, 1], better="lower", count=count, seed=evidence.seed, warning=warning)
        return {"frame_frechet": judged}


def _frames(videos: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """One frame of each video (count, channels, frames, height, width): (count, channels, height, width)."""
    return videos[np.arange(len(videos)), :, random.integers(videos.shape[2], size=len(videos))]
