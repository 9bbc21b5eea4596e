"""Principal components: the directions in which real data vary most."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """x -> (x - mean) axes; axes (dimensions, components) are orthonormal; variance: of real data along each."""

    mean: np.ndarray
    axes: np.ndarray
    variance: np.ndarray
    explained: float

    @property
    def components(self) -> int:
        """How many directions are kept."""
        return self.axes.shape[1]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The coordinates (count, components) of x (count, dimensions), in float64."""
        return ((x - self.mean) @ self.axes).astype(np.float64)


def fit_projection(x: np.ndarray, components: int) -> PrincipalComponents:
    """The leading `components` principal directions of x, (count, dimensions); fewer where x varies in fewer."""
    mean = x.mean(0, dtype=np.float64).astype(np.float32)
    centred = x - mean
    if x.shape[1] <= len(x):
        variance, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(x))
    else:  # the same directions through the smaller matrix of inner products
        variance, coordinates = np.linalg.eigh((centred @ centred.T).astype(np.float64) / len(x))
        axes = centred.T @ coordinates / np.sqrt(len(x) * np.maximum(variance, 1e-12))
    total = float(np.maximum(variance, 0).sum())
    rank = int((variance > 1e-6 * variance.max()).sum())
    kept = slice(-max(1, min(components, rank)), None)
    share = float(variance[kept].sum()) / total if total > 0 else 1.0
    return PrincipalComponents(mean, axes[:, kept].astype(np.float32), variance[kept], share)
