"""Minimum Bayes risk: of several texts the one that is nearest to all others."""

import numpy as np

from undiffuse.core.errors import Refused


def consensus(texts: np.ndarray, of: int, pad: int = -1) -> np.ndarray:
    """The indices of the chosen texts, one of each group of `of` neighbours: (n,).

    texts: tokens (n * of, length). Chosen is the one with the least mean distance to the others of its group, the
    first of equals; the distance is the edit distance of tokens over the longer one's length, padding left out.
    Source: arXiv:2205.14217, sec. 5.2 (minimum Bayes risk, there with BLEU as gain).
    Raises Refused for groups of fewer than 2 and for texts that do not fill them.
    """
    if of < 2 or len(texts) % of:
        raise Refused(
            f"a choice by consensus is of 2 texts or more, the same number each time; not {len(texts)} by {of}"
        )
    lengths = (texts != pad).sum(1) if pad >= 0 else np.full(len(texts), texts.shape[1])
    rows, columns = np.triu_indices(of, 1)
    chosen: list[int] = []
    for start in range(0, len(texts), of):
        a, b = start + rows, start + columns
        apart = edits(texts[a], texts[b], lengths[a], lengths[b]) / np.maximum(1, np.maximum(lengths[a], lengths[b]))
        risk = np.zeros((of, of))
        risk[rows, columns] = risk[columns, rows] = apart
        chosen.append(start + int(risk.sum(1).argmin()))
    return np.array(chosen)


def edits(x: np.ndarray, y: np.ndarray, x_lengths: np.ndarray, y_lengths: np.ndarray) -> np.ndarray:
    """How many tokens must be put in, left out or changed to make the first lengths of x those of y, pair by pair.

    x, y: (pairs, length); lengths (pairs,). Levenshtein's distance, all pairs at once.
    """
    pairs, width = len(x), y.shape[1]
    found = np.zeros(pairs, np.int64)
    row = np.tile(np.arange(width + 1), (pairs, 1))
    every = np.arange(pairs)
    for i in range(x.shape[1] + 1):
        ends = x_lengths == i
        found[ends] = row[every[ends], y_lengths[ends]]
        if i == x.shape[1]:
            break
        below = np.empty_like(row)
        below[:, 0] = i + 1
        changed = row[:, :-1] + (x[:, i : i + 1] != y)
        best = np.minimum(row[:, 1:] + 1, changed)
        for j in range(width):
            below[:, j + 1] = np.minimum(best[:, j], below[:, j] + 1)
        row = below
    return found
