"""Energy distance: how much farther samples are from real points than each kind is from itself."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict

MOST = 5000


@dataclass(frozen=True)
class EnergyDistance(Metric):
    """2 E|x - y| - E|x - x'| - E|y - y'| over all pairs, in the data's deviations: 0 for equal sets, else above.

    Pairs include each item with itself, so two sets of one law are about 1/count apart, which the floor shows.
    Source: Szekely and Rizzo 2013, doi:10.1016/j.jspi.2013.03.018, eq. 6.
    """

    aliases: ClassVar[tuple[str, ...]] = ("energy",)
    needs: ClassVar[str] = "points or a table"

    def applies(self, evidence: Evidence) -> bool:
        """To points and tables."""
        return not evidence.is_image

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`energy`: samples to held-out points; floor: as many training points to them."""
        found = []
        for draw in evidence.draws(evidence.coordinates, MOST, total=20_000):
            own = mean_distance(draw.held_out, draw.held_out)
            found.append(
                [
                    2 * mean_distance(part, draw.held_out) - mean_distance(part, part) - own
                    for part in (draw.samples, draw.train)
                ]
            )
        values, floors = np.array(found).T
        common = {"better": "lower", "count": min(evidence.count, MOST), "seed": evidence.seed}
        warning = evidence.few(200, "the distance is biased upwards, so read it only beside its floor")
        return {"energy_distance": verdict(values, floors, **common, warning=warning, features="coordinates")}


def energy(x: np.ndarray, y: np.ndarray) -> float:
    """The energy distance between x and y, (count, features) each; counts may differ."""
    return 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)


def mean_distance(x: np.ndarray, y: np.ndarray) -> float:
    """The mean of |x_i - y_j| over all pairs."""
    points, others = torch.from_numpy(x), torch.from_numpy(y)
    rows = points.split(max(1, 2**22 // len(others)))
    exact = "donot_use_mm_for_euclid_dist"  # from differences, so that a copy is at distance 0
    return float(sum(torch.cdist(part, others, compute_mode=exact).sum(dtype=torch.float64) for part in rows)) / (
        len(x) * len(y)
    )
