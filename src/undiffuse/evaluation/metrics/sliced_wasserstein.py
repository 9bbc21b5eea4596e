"""Sliced Wasserstein distance: the Wasserstein distance of projections on many directions."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict


@dataclass(frozen=True)
class SlicedWasserstein(Metric):
    """The root mean square of the projections' 2-Wasserstein distances, in standard deviations of the data.

    Source: Rabin et al. 2011, doi:10.1007/978-3-642-24785-9_37, sec. 2.3.
    """

    directions: int = 128
    aliases: ClassVar[tuple[str, ...]] = ("swd",)
    needs: ClassVar[str] = "points or a table"

    def applies(self, evidence: Evidence) -> bool:
        """To points; images have more telling metrics."""
        return not evidence.is_image

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`sliced_wasserstein`: samples to held-out points; floor: as many training points to them."""
        draws = evidence.draws(evidence.coordinates)
        pairs = np.array([[self._distance(part, d.held_out) for part in (d.samples, d.train)] for d in draws])
        common = {"better": "lower", "count": min(evidence.count, 50_000), "seed": evidence.seed}
        detail = {"directions": self.directions, "features": "coordinates"}
        return {"sliced_wasserstein": verdict(pairs[:, 0], pairs[:, 1], **common, **detail)}

    def _distance(self, x: np.ndarray, y: np.ndarray) -> float:
        return sliced_wasserstein(x, y, directions=self.directions)


def sliced_wasserstein(x: np.ndarray, y: np.ndarray, *, directions: int = 128, seed: int = 0) -> float:
    """sqrt(mean over directions of W_2^2) between x and y, (count, features) each; counts may differ.

    In the plane the directions are evenly spaced, so that points moved by v are exactly
    |v| / sqrt(2) away; elsewhere they are random.
    """
    if x.shape[1] == 2:
        angles = np.pi * np.arange(directions) / directions
        axes = np.stack([np.cos(angles), np.sin(angles)])
    else:
        axes = np.random.Generator(np.random.Philox(seed)).standard_normal((x.shape[1], directions))
        axes /= np.linalg.norm(axes, axis=0)
    widths, gaps = quantile_gaps(x @ axes, y @ axes)
    return float(np.sqrt(widths @ (gaps**2).mean(1)))


def quantile_gaps(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The quantile functions of x and y, (count, columns) each, differ by `gaps` (steps, columns) over `widths`
    (steps,), which sum to 1.
    """
    a, b = np.sort(x, axis=0), np.sort(y, axis=0)
    # quantiles change only at multiples of 1/len(a) and 1/len(b); whole numbers keep the steps exact
    ends = np.union1d(np.arange(1, len(a) + 1) * len(b), np.arange(1, len(b) + 1) * len(a))
    widths = np.diff(ends, prepend=0) / (len(a) * len(b))
    return widths, a[(ends - 1) // len(b)] - b[(ends - 1) // len(a)]
