"""Vectors of items as levels of their principal components: what an autoregressive prior draws, number by number."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.codecs.codec import ArrayLike, as_float
from undiffuse.codecs.item_vectors import ItemVectors
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random

MOST = 2**20  # numbers of the axes


@dataclass(frozen=True)
class PrincipalLevels(ItemVectors):
    """z_i = the level, of even ones from -1 to 1, of principal component i of a unit vector (d,): (1, components).

    The components fall in their variance; each reaches from the least to the greatest value of the training data, and
    what lies beyond becomes the end. Decoding gives the unit vector of the levels' middles.
    encoder: the run of kind clip that makes the vectors of items; in a recipe its folder. components: how many are
    kept. levels: of each. mean, axes, least, most: what was fitted; axes are rows (components, d), one after the other.
    Source: arXiv:2204.06125, sec. 2.2 (319 components of 1,024 numbers, in 1,024 levels).
    Raises Refused for more components than numbers, and for fewer levels than 2.
    """

    components: int = 64
    levels: int = 256
    mean: tuple[float, ...] = ()
    axes: tuple[float, ...] = ()
    least: tuple[float, ...] = ()
    most: tuple[float, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.components < 1 or self.levels < 2:
            raise Refused(
                f"principal_levels needs 1 component and 2 levels or more, not {self.components} and {self.levels}"
            )
        if len(self.axes) != len(self.mean) * len(self.least) or len(self.least) != len(self.most):
            raise Refused("principal_levels needs as many axes as ends of components, each as long as the mean")

    def fit(self, x: ArrayLike, **beside: ArrayLike) -> Self:
        rows = np.asarray(x[:], np.float64)
        if self.components > min(rows.shape) or self.components * rows.shape[1] > MOST:
            raise Refused(
                f"codec.components = {self.components}: {len(rows):,} vectors of {rows.shape[1]:,} numbers have "
                f"{min(*rows.shape, MOST // rows.shape[1]):,} at most"
            )
        mean = rows.mean(0)
        _, axes = np.linalg.eigh((rows - mean).T @ (rows - mean))
        axes = axes[:, ::-1][:, : self.components].T.astype(np.float32)
        parts = (rows - mean) @ axes.T
        least, most = parts.min(0), parts.max(0)
        most = np.where(most > least, most, least + 1)
        numbers = (tuple(each.reshape(-1).tolist()) for each in (mean, axes, least, most))
        return replace(self, **dict(zip(("mean", "axes", "least", "most"), numbers, strict=True)))

    def encode(self, x: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """Levels of vectors x (count, d), of any length: (count, 1, components) in [-1, 1]."""
        rows = F.normalize(as_float(x), dim=1)
        mean, axes, least, most = self._fitted(rows)
        share = ((rows - mean) @ axes.mT - least) / (most - least)
        places = (share.clamp(0, 1) * (self.levels - 1)).round()
        return (places * (2 / (self.levels - 1)) - 1)[:, None]

    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """Unit vectors."""
        mean, axes, least, most = self._fitted(z)
        return F.normalize(mean + ((z[:, 0].float() + 1) / 2 * (most - least) + least) @ axes, dim=1)

    def encoded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return 1, self.components

    def decoded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (len(self.mean),)

    def _fitted(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if not self.mean:
            raise Refused("principal_levels is not fitted: call fit(x) with the training data first")
        parts = (self.mean, self.axes, self.least, self.most)
        mean, axes, least, most = (torch.tensor(each, dtype=torch.float32, device=like.device) for each in parts)
        return mean, axes.reshape(-1, len(mean)), least, most
