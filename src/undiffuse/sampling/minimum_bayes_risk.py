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
    from rapidfuzz.distance import Levenshtein

    lengths = (texts != pad).sum(1)
    rows = [row[:length] for row, length in zip(texts.tolist(), lengths.tolist(), strict=True)]
    chosen: list[int] = []
    for start in range(0, len(rows), of):
        group = rows[start : start + of]
        apart = np.array([[Levenshtein.normalized_distance(one, other) for other in group] for one in group])
        chosen.append(start + int(apart.sum(1).argmin()))
    return np.array(chosen)
