"""A Markov model of the last few tokens: the baseline of text models."""

import numpy as np

ORDER = 3
PRIOR = 2.0  # counts that the shorter context is worth
DENSE = 2**24  # different runs that are counted in a table


def bits(train: np.ndarray, held_out: np.ndarray, vocabulary: int, order: int = ORDER) -> np.ndarray:
    """-log2 p of each held-out item, (count,), by counts of runs in the training items, both (n, length).

    p_k(x given the last k) = (c(last k, x) + a p_{k-1}(x given the last k - 1)) / (c(last k) + a),  a = 2,
    p_{-1} = 1/vocabulary; the first tokens of an item have fewer before them, as for a model of whole items.
    """
    p = np.full(held_out.shape, 1 / vocabulary)
    for k in range(min(order, held_out.shape[1] - 1) + 1):
        runs, asked = (_numbers(x, k + 1, vocabulary) for x in (train, held_out))
        before, known = (_numbers(x[:, :-1], k, vocabulary) for x in (train, held_out))
        here, there = _counts(runs, asked, vocabulary ** (k + 1)), _counts(before, known, vocabulary**k)
        p[:, k:] = (here + PRIOR * p[:, k:]) / (there + PRIOR)
    return -np.log2(p).sum(1)


def _numbers(x: np.ndarray, size: int, vocabulary: int) -> np.ndarray:
    """Every run of `size` tokens as one number, (n, length - size + 1) int64."""
    length = x.shape[1] - size + 1
    found = np.zeros((len(x), length), np.int64)
    with np.errstate(over="ignore"):  # beyond 2^63 numbers meet by chance only
        for i in range(size):
            found = found * vocabulary + x[:, i : i + length]
    return found


def _counts(runs: np.ndarray, asked: np.ndarray, most: int) -> np.ndarray:
    """How often each of the asked runs occurs among the runs."""
    if most <= DENSE:
        return np.bincount(runs.reshape(-1), minlength=most)[asked]
    known, counts = np.unique(runs, return_counts=True)
    places = np.searchsorted(known, asked).clip(max=len(known) - 1)
    return np.where(known[places] == asked, counts[places], 0)
