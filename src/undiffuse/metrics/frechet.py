"""Frechet distance: how far the mean and covariance of the samples lie from those of real data."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from undiffuse.metrics.evidence import Evidence
from undiffuse.metrics.metric import Metric, verdict


@dataclass(frozen=True)
class Frechet(Metric):
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) on the features `pixels`.

    Even perfect samples have a distance that shrinks only as 1/count, hence the floor. Source: arXiv:1706.08500, eq. 6,
    with principal components of pixels in place of Inception features: never call it FID.
    """

    def applies(self, evidence: Evidence) -> bool:
        """Always."""
        return True

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`frechet`: samples to held-out data; floor: as many training items to the same held-out data."""
        pairs = np.array([(frechet(d.samples, d.held_out), frechet(d.train, d.held_out)) for d in evidence.draws()])
        why = "the distance is biased upwards, so read it only beside its floor"
        warning = evidence.few(1000, why)
        common = {"better": "lower", "count": evidence.count, "seed": evidence.seed}
        return {"frechet": verdict(pairs[:, 0], pairs[:, 1], **common, warning=warning, **evidence.features)}


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """The distance between the Gaussians fitted to x and y, (count, features) each."""
    moments = [(z.mean(0), np.atleast_2d(np.cov(z, rowvar=False))) for z in (x, y)]
    return frechet_gaussians(*moments[0], *moments[1])


def frechet_gaussians(mean_1: np.ndarray, cov_1: np.ndarray, mean_2: np.ndarray, cov_2: np.ndarray) -> float:
    """The squared 2-Wasserstein distance between two Gaussians.

    tr (C1 C2)^(1/2) = sum of sqrt(eigenvalues of S C2 S), S = C1^(1/2): symmetric, so singular covariances do no harm.
    """
    values, vectors = np.linalg.eigh(cov_1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ cov_2 @ root)
    cross = np.sqrt(np.maximum(product, 0)).sum()
    return float(((mean_1 - mean_2) ** 2).sum() + np.trace(cov_1) + np.trace(cov_2) - 2 * cross)
