"""Memorisation: are samples nearer to training items than held-out items are?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.distances import nearest
from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict

MOST_WORK = 5e11  # multiplications in one search
HALVINGS = 50


@dataclass(frozen=True)
class Memorisation(Metric):
    """The share of samples that are nearer to a training item than all but `rare` of the held-out items are.

    Distances are Euclidean in all pixels. The floor is the same share for held-out items, the bound drawn from one
    random half and applied to the other. Detail: `nearer`, the chance that a sample is nearer than a held-out item (1/2
    is ideal, 1 is copying), the number of exact copies, the bound, the median distances, and the closest pairs (sample,
    training item, distance) for a picture.
    """

    rare: float = 0.01
    pairs: int = 16
    needs: ClassVar[str] = "nothing"

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`memorisation`."""
        x = evidence.coordinates
        most = max(100, int(MOST_WORK / x.train.size))
        held_out = evidence.cache.arrays(
            {"what": "nearest", "version": 1, "most": most, **evidence.key},
            lambda: {"distance": nearest(x.held_out[:most], x.train)[0]},
        )["distance"]
        distance, index = nearest(x.samples[:most], x.train)
        bound = float(np.quantile(held_out, self.rare))
        closest = np.argsort(distance, kind="stable")[: self.pairs]
        rank = (
            np.searchsorted(np.sort(held_out), distance, side="left"),
            np.searchsorted(np.sort(held_out), distance, side="right"),
        )
        resting = self.rare * len(held_out)
        rests = f"the bound rests on the {max(1, round(resting))} nearest of {len(held_out)} held-out items"
        judged = verdict(
            float((distance < bound).mean()), self._floor(held_out, evidence.random(3)),
            better="lower", count=len(distance), seed=evidence.seed,
            warning=rests if resting < 10 else "",
            nearer=float(1 - (rank[0] + rank[1]).mean() / (2 * len(held_out))),
            copies=int((distance == 0).sum()), bound=bound, held_out_count=len(held_out),
            features="coordinates", median=float(np.median(distance)), held_out_median=float(np.median(held_out)),
            pairs=[(int(i), int(index[i]), float(distance[i])) for i in closest],
        )  # fmt: skip
        return {"memorisation": judged}

    def _floor(self, held_out: np.ndarray, random: np.random.Generator) -> float:
        """The share of one half below the other half's bound, over many halvings."""
        shares = []
        for _ in range(HALVINGS):
            first, second = np.array_split(random.permutation(held_out), 2)
            shares.append((second < np.quantile(first, self.rare)).mean())
        return float(np.mean(shares))
