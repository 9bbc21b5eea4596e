"""Prepares images for networks: scales them to [0, 1], turns grey to RGB and resizes them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.progress import progress_bar

BATCH = 32


def refuse_unless_images(x: np.ndarray, name: str, channels: tuple[int, ...] = (1, 3)) -> None:
    """Raises Refused unless x is (count, channels, height, width) with channels that the features `name` accept."""
    if x.ndim != 4 or (channels and x.shape[1] not in channels):
        kinds = "images, grey or RGB" if channels else "images"
        raise Refused(f"features {name} see {kinds}, and the items have shape {x.shape[1:]}; use --features pixels")


def span(train: np.ndarray) -> np.ndarray:
    """The values of black and white: 0 and 255 for 8 bits; for floats 0 and 1, or -1 and 1, if all lie between;
    else the smallest and the largest value.
    """
    if train.dtype == np.uint8:
        return np.array([0.0, 255.0])
    low, high = float(train.min()), float(train.max())
    if np.issubdtype(train.dtype, np.integer):
        return np.array([low, max(high, low + 1)])
    for black, white in ((0.0, 1.0), (-1.0, 1.0)):
        if low >= black - 1e-6 and high <= white + 1e-6:
            return np.array([black, white])
    return np.array([low, high])


def unit(x: np.ndarray, by: np.ndarray) -> Tensor:
    """x as float32 in [0, 1]; values outside the span are clipped."""
    low, high = (float(each) for each in by)
    return ((torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)) - low) / (high - low)).clamp(0, 1)


def rgb(x: Tensor) -> Tensor:
    """Grey images with their channel repeated three times; RGB images unchanged."""
    return x.expand(-1, 3, -1, -1)


def resize(x: Tensor, size: int) -> Tensor:
    """x in [0, 1] as (count, channels, size, size): bicubic, antialiased where it shrinks, clipped to [0, 1]."""
    if tuple(x.shape[2:]) == (size, size):
        return x
    return F.interpolate(x, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)


@torch.inference_mode()
def walk(x: np.ndarray, see: Callable[[np.ndarray], Tensor], name: str, batch: int = BATCH) -> np.ndarray:
    """Apply `see` to one batch after another, with a progress bar; raises Refused if a result is not finite."""
    found = []
    with progress_bar(total=len(x), desc=f"features {name}", unit="item", delay=2, leave=False) as bar:
        for i in range(0, len(x), batch):
            found.append(see(x[i : i + batch]).float().cpu().numpy())
            bar.update(len(found[-1]))
    vectors = np.concatenate(found)
    if not np.isfinite(vectors).all():
        raise Refused(f"features {name} have numbers that are NaN or infinite")
    return vectors
