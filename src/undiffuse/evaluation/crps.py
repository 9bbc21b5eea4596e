"""The continuous ranked probability score: how far a predictive distribution is from what was observed."""

import numpy as np
import torch


def crps(samples: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """CRPS(F, y) = int (F(z) - 1[y <= z])^2 dz = E|X - y| - E|X - X'|/2 of the samples' own, empirical distribution.

    samples: (n, ...), n draws for each number observed (...). Returns (...), in the unit of the data; 0 where all draws
    are the observation, and |x - y| of a single draw. Sorted, sum |x_i - x_j| = 2 sum (2i - n - 1) x_(i), i = 1 ... n.
    Source: arXiv:1709.04743, eq. 3.
    """
    x, y = np.asarray(samples, np.float64), np.asarray(observed, np.float64)
    return np.abs(x - y).mean(0) - _pairs(x) / len(x) ** 2


def crps_expected(samples: np.ndarray) -> np.ndarray:
    """The CRPS that the samples (n, ...) would have on average were the observations drawn from the same law: (...).

    (1 + 1/n) E|X - X'|/2, by the mean over different pairs of samples; nan for one sample. A forecast whose CRPS is
    above it is too sure of itself or off, one whose CRPS is below it too broad.
    """
    x = np.asarray(samples, np.float64)
    n = len(x)
    if n < 2:
        return np.full(x.shape[1:], np.nan)
    return (1 + 1 / n) * _pairs(x) / (n * (n - 1))


def crps_normal(mean: np.ndarray | float, std: np.ndarray | float, observed: np.ndarray | float) -> np.ndarray:
    """The CRPS of N(mean, std^2): std (w (2 Phi(w) - 1) + 2 phi(w) - 1/sqrt(pi)), w = (y - mean)/std; |y - mean| of std
    0. The arguments broadcast. Source: Gneiting and Raftery 2007, eq. 21.
    """
    off, std = np.asarray(observed, np.float64) - mean, np.asarray(std, np.float64)
    w = off / np.where(std > 0, std, 1.0)
    below = torch.special.ndtr(torch.as_tensor(w)).numpy()
    phi = np.exp(-(w**2) / 2) / np.sqrt(2 * np.pi)
    return np.where(std > 0, std * (w * (2 * below - 1) + 2 * phi - np.pi**-0.5), np.abs(off))


def _pairs(x: np.ndarray) -> np.ndarray:
    """Half of sum |x_i - x_j| over all i and j, (...)."""
    n = len(x)
    ranks = 2.0 * np.arange(1, n + 1) - n - 1
    return np.tensordot(ranks, np.sort(x, axis=0), axes=1)
