"""How much frames change from one to the next: whether motion is as fast, and as even, as in real videos."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence, Parts
from undiffuse.evaluation.metrics.metric import Metric, verdict

LAGS = (1, 2, 4)  # frames apart


@dataclass(frozen=True)
class FrameChange(Metric):
    """The Wasserstein distance between the distributions of d = mean |x_(f+1) - x_f| of samples and held-out videos.

    d is one number for each two neighbouring frames, a mean over their numbers, in the data's units; the distance is
    between as many of both. Videos that flicker change too much, frozen ones too little. Detail: the mean change
    of both, `jerk`, how much d itself scatters inside a video on average, and the same distance for frames that are 2
    and 4 apart, which real motion drives further apart and flicker does not. No flow is computed.
    """

    needs: ClassVar[str] = "videos of two frames or more"

    def applies(self, evidence: Evidence) -> bool:
        return evidence.videos and evidence.items.train.shape[2] > 1

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`frame_change`; floor: the same of as many training videos."""
        count = min(map(len, evidence.items))
        by_lag = {lag: Parts(*(changes(part[:count], lag) for part in evidence.items)) for lag in LAGS}
        by_lag = {lag: parts for lag, parts in by_lag.items() if parts.train.size}
        apart = {
            lag: (wasserstein(p.samples, p.held_out), wasserstein(p.train, p.held_out)) for lag, p in by_lag.items()
        }
        near = by_lag[1]
        detail: dict[str, Any] = {
            "change": float(near.samples.mean()),
            "change_held_out": float(near.held_out.mean()),
            "jerk": float(near.samples.std(1).mean()),
            "jerk_held_out": float(near.held_out.std(1).mean()),
        }
        for lag, (value, floor) in list(apart.items())[1:]:
            detail |= {f"apart_{lag}": value, f"apart_{lag}_floor": floor}
        judged = verdict(*apart[1], better="lower", count=count, seed=evidence.seed, **detail)
        return {"frame_change": judged}


def changes(videos: np.ndarray, lag: int) -> np.ndarray:
    """mean |x_(f+lag) - x_f| of videos (count, channels, frames, ...), (count, frames - lag)."""
    x = videos.astype(np.float32)
    return np.abs(x[:, :, lag:] - x[:, :, :-lag]).mean((1, 3, 4)) if x.shape[2] > lag else x[:, 0, :0, 0, 0]


def wasserstein(x: np.ndarray, y: np.ndarray) -> float:
    """The mean distance of equally many numbers from one another, both in their order."""
    return float(np.abs(np.sort(x, axis=None) - np.sort(y, axis=None)).mean())
