"""Embeddings: what is modelled of an item is the vector that a trained pair of encoders gives of it."""

import math
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.codecs.codec import ArrayLike, as_float
from undiffuse.codecs.item_vectors import ItemVectors
from undiffuse.codecs.whiten import moments
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random

SPHERE = "the vectors have length 1, and a density on their sphere is none of the data"


@dataclass(frozen=True)
class Embedding(ItemVectors):
    """z = (sqrt(d) u - mean) / std, u the unit vector (d,) of an item; decoding gives unit vectors back.

    encoder: the run of kind clip that makes them of items; in a recipe its folder. scale: "length", mean 0 and std 1,
    so that a number's mean square is 1, which schedules need; "moments", the mean of each number over the training data
    and one deviation of all: vectors of a pair of encoders lie in a cone, around a mean that is far from 0.
    mean, std: what was fitted. Source: arXiv:2204.06125, sec. 2.2; the scale as in its released reimplementations.
    """

    scale: Literal["length", "moments"] = "length"
    mean: tuple[float, ...] = ()
    std: float = 1.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not 0 < self.std < math.inf:
            raise Refused(f"codec.std is the deviation of vectors: above 0, not {self.std:g}")

    def fit(self, x: ArrayLike, **beside: ArrayLike) -> Self:
        if self.scale == "length":
            return self
        root = x.shape[1] ** 0.5
        mean, std, *_ = moments(x)
        return replace(self, mean=tuple((root * mean).tolist()), std=float(root * np.sqrt(np.square(std).mean())))

    def encode(self, x: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """Vectors x (count, d), of any length, as numbers of about unit scale."""
        vectors = F.normalize(as_float(x), dim=1) * x.shape[1] ** 0.5
        return (vectors - self._mean(vectors)) / self.std

    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """Unit vectors."""
        return F.normalize(z.float() * self.std + self._mean(z), dim=1)

    def no_density(self) -> str:
        return SPHERE

    def _mean(self, like: Tensor) -> Tensor:
        if self.mean and len(self.mean) != like.shape[1]:
            raise Refused(f"the codec knows vectors of {len(self.mean)} numbers, not of {like.shape[1]}")
        return torch.tensor(self.mean or 0.0, dtype=torch.float32, device=like.device)
