"""One scale for all parts: integers by what their dtype holds, floats by what the training items are."""

from collections.abc import Mapping

import numpy as np

Moments = Mapping[str, np.ndarray]


def moments(train: np.ndarray) -> dict[str, np.ndarray]:
    """Centre and spread that bring items like `train` to [-1, 1] (integers) or to mean 0 and deviation 1 (floats).

    Points have their own for each feature, all else one for all numbers; what never changes has spread 1.
    """
    if np.issubdtype(train.dtype, np.integer):
        half = np.iinfo(train.dtype).max / 2
        return {"centre": np.array(half), "spread": np.array(half)}
    over = None if train.ndim > 2 else 0
    centre, spread = train.mean(over, dtype=np.float64), train.std(over, dtype=np.float64)
    constant = train.min(over) == train.max(over)
    return {"centre": np.array(centre), "spread": np.where(constant | (spread == 0), 1.0, spread)}


def scaled(x: np.ndarray, by: Moments) -> np.ndarray:
    """x, (count, *shape), as float32 (count, dimensions) on the scale of the moments."""
    flat = x.reshape(len(x), -1)
    if np.issubdtype(x.dtype, np.integer):
        return flat * np.float32(1 / by["spread"]) - np.float32(1)
    return ((flat - by["centre"]) / by["spread"]).astype(np.float32)
