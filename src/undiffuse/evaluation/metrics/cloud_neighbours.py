"""Point clouds: are samples as far from data, by the Chamfer distance, as data are from each other?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict

MOST = 100  # clouds a side: the distances are those of all pairs
BLOCK = 2**24  # distances of points held at once


@dataclass(frozen=True)
class CloudNeighbours(Metric):
    """`one_nna`: the share of samples and held-out clouds whose nearest other one is of their own kind, 50 % where they
    have one law; `cloud_coverage`: held-out clouds that are the nearest one of a sample; `cloud_distance`: the mean
    distance of a held-out cloud to the nearest sample (MMD).

    The distance of two clouds is Chamfer's, mean_a min_b |a - b|^2 + mean_b min_a |a - b|^2. The floors are those of
    training clouds in the samples' place. Source: arXiv:1906.12320, sec. 5.1.
    """

    needs: ClassVar[str] = "point clouds"
    of_sets: ClassVar[bool] = True

    def applies(self, evidence: Evidence) -> bool:
        """To point clouds."""
        return evidence.clouds

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`one_nna`, `cloud_coverage` and `cloud_distance`."""
        count = min(MOST, evidence.count)
        random = evidence.random(11)
        samples, held_out, train = (part[random.permutation(len(part))[:count]] for part in evidence.items)
        among = chamfer(held_out, held_out)
        found = [neighbours(chamfer(x, x), chamfer(x, held_out), among) for x in (samples, train)]
        names = {"one_nna": "lower", "cloud_coverage": "higher", "cloud_distance": "lower"}
        warning = evidence.few(50, "a few clouds decide it")
        return {
            name: verdict(
                found[0][i], found[1][i], better=better, count=count, seed=evidence.seed, warning=warning
            )
            for i, (name, better) in enumerate(names.items())
        }  # fmt: skip


def chamfer(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Chamfer distances of clouds x (n, 3, points) to clouds y (m, 3, points), (n, m).

    Both clouds of a pair are measured from the second one's middle, so that lying far from 0 costs no digits.
    """
    ours, theirs = (torch.from_numpy(np.ascontiguousarray(each.swapaxes(1, 2), np.float64)) for each in (x, y))
    middle = theirs.mean(1, keepdim=True)
    near = (theirs - middle).float()
    step = max(1, BLOCK // (ours.shape[1] * theirs.shape[1] * len(theirs)))
    found = []
    for part in ours.split(step):
        apart = torch.cdist((part[:, None] - middle).float(), near[None]).square()  # (k, m, points, points)
        found.append(apart.min(3).values.mean(2) + apart.min(2).values.mean(2))
    return torch.cat(found).double().numpy()


def neighbours(own: np.ndarray, across: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """1-NNA, coverage and MMD of n samples and as many held-out items, by their distances: among samples, of samples to
    held-out items, and among these.
    """
    all_ = np.block([[own, across], [across.T, other]])
    np.fill_diagonal(all_, np.inf)
    first = np.arange(len(all_)) < len(own)
    alike = first[all_.argmin(1)] == first
    return float(alike.mean()), len(np.unique(across.argmin(1))) / across.shape[1], float(across.min(0).mean())
