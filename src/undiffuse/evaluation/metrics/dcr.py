"""Distance to the closest record: are samples nearer to training rows than to as many held-out rows?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.distances import nearest
from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict

MOST = 10_000  # rows a side


@dataclass(frozen=True)
class DCR(Metric):
    """The share of samples whose closest row is a training row, among equally many training and held-out rows.

    It is 1/2 where nothing was memorised; ties count half. Numbers are measured in their standard deviations, and two
    different categories are at the distance 1. For the floor, half of the held-out rows stand in for samples. Detail:
    the share of samples that copy a training row exactly, and the share of held-out rows that do so by chance.
    """

    aliases: ClassVar[tuple[str, ...]] = ("closest_record", "distance_to_closest_record")
    needs: ClassVar[str] = "a table with named columns"

    def applies(self, evidence: Evidence) -> bool:
        """To tables with names of columns."""
        return bool(evidence.columns)

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`dcr`."""
        x = evidence.coordinates
        count = min(len(x.train), len(x.held_out), MOST)
        shares, floors = [], []
        for repeat in range(3):
            random = evidence.random(8, repeat)
            train, held_out, samples = (
                part[random.permutation(len(part))] for part in (x.train, x.held_out, x.samples)
            )
            half = count // 2
            shares.append(nearer(samples[:MOST], train[:count], held_out[:count]))
            floors.append(nearer(held_out[half : 2 * half], train[:half], held_out[:half]))
        copied, by_chance = (float((nearest(part[:MOST], x.train)[0] == 0).mean()) for part in (x.samples, x.held_out))
        judged = verdict(
            np.array(shares), np.array(floors), better="lower", count=count, seed=evidence.seed,
            warning=evidence.few(500, "the share is not known to better than a few points"),
            features="coordinates", copies=copied, held_out_copies=by_chance,
        )  # fmt: skip
        return {"dcr": judged}


def nearer(x: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """The share of rows of x whose nearest row is in `first` and not in `second`; ties count half."""
    a, b = (nearest(x, part)[0] for part in (first, second))
    return float((a < b).mean() + (a == b).mean() / 2)
