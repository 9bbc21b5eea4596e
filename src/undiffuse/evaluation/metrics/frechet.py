"""Frechet distance: how far the mean and covariance of the samples lie from those of real data."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import NO_FLOOR, Metric, verdict

LARGE = 256  # features
DOUBTED = 0.5  # of its floor: no two parts of one law come so much nearer than others


@dataclass(frozen=True)
class Frechet(Metric):
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) between the samples' mean and covariance and the held-out data's.

    Even perfect samples have a distance that shrinks only as 1/count, hence the floor. It is FID with the features
    `inception`, and with no others. Source: arXiv:1706.08500, eq. 6.
    """

    aliases: ClassVar[tuple[str, ...]] = ("fid", "frechet_distance")
    needs: ClassVar[str] = "nothing"

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`frechet`: samples to held-out data; floor: as many training items to the same held-out data."""
        pairs = np.array([frechet_both(*draw) for draw in evidence.draws(evidence.vectors)])
        warning = evidence.few(evidence.enough, "the distance is biased upwards, so read it only beside its floor")
        value, floor = pairs.mean(0)
        warning = NO_FLOOR if value < DOUBTED * floor else warning
        common = {"better": "lower", "count": min(evidence.count, 50_000), "seed": evidence.seed}
        return {"frechet": verdict(pairs[:, 0], pairs[:, 1], **common, warning=warning, **evidence.about)}


class MeanAndCovariance(NamedTuple):
    """A mean (features,) and a covariance (features, features)."""

    mean: np.ndarray
    cov: np.ndarray


def gaussian(x: np.ndarray) -> MeanAndCovariance:
    """The Gaussian fitted to x, (count, features)."""
    return MeanAndCovariance(x.mean(0, dtype=np.float64), np.atleast_2d(np.cov(x, rowvar=False)))


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """The distance between the Gaussians fitted to x and y, (count, features) each."""
    return frechet_both(x, y, x)[0]


def frechet_both(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[float, float]:
    """The distances of x to y and of z to y, cheaper than two calls."""
    if max(len(x), len(y), len(z)) < x.shape[1]:
        return _between_few(x, y), _between_few(z, y)
    centre = gaussian(y)
    root = _root(centre.cov)
    return _distance(gaussian(x), centre, root), _distance(gaussian(z), centre, root)


def frechet_gaussians(mean_1: np.ndarray, cov_1: np.ndarray, mean_2: np.ndarray, cov_2: np.ndarray) -> float:
    """The squared 2-Wasserstein distance between two Gaussians."""
    return _distance(MeanAndCovariance(mean_2, cov_2), MeanAndCovariance(mean_1, cov_1), _root(cov_1))


def _between_few(x: np.ndarray, y: np.ndarray) -> float:
    """The same from fewer items than features: tr (C1 C2)^(1/2) is the sum of the singular values of X Y^T / count, X
    and Y centred.
    """
    means = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
    one, other = ((part - mean) / np.sqrt(len(part) - 1) for part, mean in zip((x, y), means, strict=True))
    cross = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    return float(((means[0] - means[1]) ** 2).sum() + (one**2).sum() + (other**2).sum() - 2 * cross)


def _distance(one: MeanAndCovariance, other: MeanAndCovariance, root: np.ndarray) -> float:
    """tr (C1 C2)^(1/2) = sum of sqrt(eigenvalues of R' C1 R), C2 = R R': symmetric, so singular ones do no harm."""
    product = np.linalg.eigvalsh(root.T @ one.cov @ root)
    cross = np.sqrt(np.maximum(product, 0)).sum()
    return float(((one.mean - other.mean) ** 2).sum() + np.trace(one.cov) + np.trace(other.cov) - 2 * cross)


def _root(cov: np.ndarray) -> np.ndarray:
    """R with R R' = cov; of a large one by Cholesky, after 1e-10 of the mean variance was added to each."""
    if len(cov) > LARGE:
        with suppress(np.linalg.LinAlgError):  # not positive definite: the eigenvalues below always work
            return np.linalg.cholesky(cov + 1e-10 * np.trace(cov) / len(cov) * np.eye(len(cov)))
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(np.maximum(values, 0))
