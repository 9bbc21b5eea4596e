"""Runs of tokens as numbers, to look up quickly which of them the training text has."""

import numpy as np

ODD = np.uint64(0x9E3779B97F4A7C15)  # the golden ratio's bits: consecutive tokens land far apart


def grams(x: np.ndarray, count: int) -> np.ndarray:
    """A 64-bit hash of every run of `count` tokens of x (n, length): (n, length - count + 1) uint64."""
    length = x.shape[1] - count + 1
    found = np.zeros((len(x), length), np.uint64)
    with np.errstate(over="ignore"):
        for i in range(count):
            found = (found + x[:, i : i + length].astype(np.uint64) + np.uint64(1)) * ODD
            found ^= found >> np.uint64(29)
    return found


def among(runs: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of the runs are among the known ones; known: sorted and different, as `distinct` gives them."""
    places = np.searchsorted(known, runs).clip(max=len(known) - 1)
    return known[places] == runs


def distinct(x: np.ndarray, count: int) -> np.ndarray:
    """The different runs of `count` tokens of x, sorted."""
    return np.unique(grams(x, count))
