"""The linear baseline of autoencoders: principal components, as many numbers an item as the latents have."""

from dataclasses import dataclass

import numpy as np

MOST = 2000  # items or patches that the components are found from


@dataclass(frozen=True)
class LinearAutoencoder:
    """mean (d,) and components (k, d) of patches of `side` x `side` pixels, or of whole items (side = 0)."""

    mean: np.ndarray
    components: np.ndarray
    side: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The items x (count, *shape) after they went through the components, in their dtype and its range."""
        flat = _patches(x, self.side) - self.mean
        made = _whole(flat @ self.components.T @ self.components + self.mean, x.shape, self.side)
        if np.issubdtype(x.dtype, np.integer):
            limits = np.iinfo(x.dtype)
            made = np.clip(np.rint(made), limits.min, limits.max)
        return made.astype(x.dtype)


def fit(x: np.ndarray, latent_shape: tuple[int, ...], seed: int = 0) -> LinearAutoencoder:
    """Of the items x (count, *shape): for latents with sides, (channels, height, width), so many components of each
    patch that one place of theirs stands for; else of the whole item, so many as an item has latents.
    """
    sided = x.ndim == 4 and len(latent_shape) == 3 and latent_shape[1] > 0
    side = x.shape[2] // latent_shape[1] if sided else 0
    fits = side and x.shape[2:] == (side * latent_shape[1], side * latent_shape[2])
    side, count = (side, latent_shape[0]) if fits else (0, int(np.prod(latent_shape)))
    flat = _patches(x, side)
    if len(flat) > MOST:
        flat = flat[np.random.Generator(np.random.Philox(seed)).choice(len(flat), MOST, replace=False)]
    mean = flat.mean(0)
    centred = flat - mean
    if len(centred) < centred.shape[1]:  # the same components, from the smaller of two squares
        _, vectors = np.linalg.eigh(centred @ centred.T)
        rows = vectors[:, ::-1][:, :count].T @ centred
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    else:
        _, vectors = np.linalg.eigh(centred.T @ centred)
        rows = vectors[:, ::-1][:, :count].T
    return LinearAutoencoder(mean, rows, side)


def _patches(x: np.ndarray, side: int) -> np.ndarray:
    """(patches, d) as float64: the items flat, or their patches."""
    if not side:
        return x.reshape(len(x), -1).astype(np.float64)
    count, channels, high, wide = x.shape
    cut = x.reshape(count, channels, high // side, side, wide // side, side).transpose(0, 2, 4, 1, 3, 5)
    return cut.reshape(-1, channels * side * side).astype(np.float64)


def _whole(flat: np.ndarray, shape: tuple[int, ...], side: int) -> np.ndarray:
    """The inverse of `_patches`."""
    if not side:
        return flat.reshape(shape)
    count, channels, high, wide = shape
    cut = flat.reshape(count, high // side, wide // side, channels, side, side)
    return cut.transpose(0, 3, 1, 4, 2, 5).reshape(shape)
