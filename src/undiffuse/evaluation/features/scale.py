"""The scale of items: 8-bit integers by their range, all others by the training items."""

from collections.abc import Mapping

import numpy as np

Moments = Mapping[str, np.ndarray]


def moments(train: np.ndarray) -> dict[str, np.ndarray]:
    """Centre and spread that bring items like `train` to [-1, 1] (integers; those of more than 8 bit by their least and
    greatest number) or to mean 0 and deviation 1 (floats).

    Points have one pair for each feature, all other data one for all values; the spread of a constant is 1.
    """
    if np.issubdtype(train.dtype, np.integer):
        eight = train.dtype.itemsize == 1
        low, high = (0, np.iinfo(train.dtype).max) if eight else (int(train.min()), int(train.max()))
        return {"centre": np.array((low + high) / 2), "spread": np.array(((high - low) or 2) / 2)}
    over = None if train.ndim > 2 else 0
    centre, spread = train.mean(over, dtype=np.float64), train.std(over, dtype=np.float64)
    constant = train.min(over) == train.max(over)
    return {"centre": np.array(centre), "spread": np.where(constant | (spread == 0), 1.0, spread)}


def scaled(x: np.ndarray, by: Moments) -> np.ndarray:
    """x, (count, *shape), as float32 (count, dimensions) on the scale of the moments."""
    flat = x.reshape(len(x), -1)
    if np.issubdtype(x.dtype, np.integer):
        return flat * np.float32(1 / by["spread"]) - np.float32(by["centre"] / by["spread"])
    return ((flat - by["centre"]) / by["spread"]).astype(np.float32)
