"""Tokens pass unchanged; what is kept is how many symbols there are, and how frequent each is."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import ArrayLike, Codec, as_dtype, slices
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random

MOST = 2**20  # symbols


@dataclass(frozen=True)
class TokensCodec(Codec):
    """z = x as int64, for integers 0 ... vocabulary - 1.

    vocabulary: how many symbols there are; 0: as many as the data say, or one more than their greatest token.
    frequencies: the share of each symbol among the data's tokens. dtype: the smallest that holds them and one more, a
    mask.
    Raises Refused for data that are no integers, and for tokens outside the vocabulary.
    """

    tokens = True

    vocabulary: int = 0
    frequencies: tuple[float, ...] = ()
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        if not (self.vocabulary == 0 or 2 <= self.vocabulary <= MOST):
            raise Refused(f"a vocabulary has 2 to {MOST:,} symbols, not {self.vocabulary:,}")
        if len(self.frequencies) not in (0, self.vocabulary):
            raise Refused(f"tokens have {self.vocabulary} symbols, and {len(self.frequencies)} frequencies were given")

    def fit(self, x: ArrayLike, **beside: ArrayLike) -> Self:
        """A copy with the vocabulary and the frequencies of x, (count, length)."""
        counts = np.zeros(self.vocabulary, np.int64)
        for part in slices(x):
            self._integers(part.dtype)
            self._inside(int(part.min()), int(part.max()))
            each = np.bincount(part.reshape(-1).astype(np.int64), minlength=len(counts))
            counts = each + np.pad(counts, (0, len(each) - len(counts)))
        if len(counts) < 2:
            raise Refused("the data have one symbol only: there is nothing to learn")
        dtype = "uint8" if len(counts) < 2**8 else "uint16" if len(counts) < 2**16 else "int64"
        return replace(self, vocabulary=len(counts), frequencies=tuple((counts / counts.sum()).tolist()), dtype=dtype)

    def encode(self, x: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """x as int64."""
        z = x if isinstance(x, Tensor) else torch.from_numpy(np.asarray(x).astype(np.int64))
        if z.is_floating_point():
            raise self._not_integers(z.dtype)
        if z.device.type == "cpu" and z.numel():
            self._inside(int(z.min()), int(z.max()))
        return z.long()

    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """z in the dtype that holds the vocabulary; a mask that is left is the vocabulary's size."""
        return as_dtype(z, self.dtype)

    def log_det(self, shape: tuple[int, ...]) -> float:
        """0: nothing is scaled."""
        return 0.0

    def _integers(self, dtype: np.dtype) -> None:
        if dtype.kind not in "iu":
            raise self._not_integers(dtype)

    def _not_integers(self, dtype: object) -> Refused:
        return Refused(
            f"the codec tokens is for integers, and the data have dtype {dtype}: use whiten or pixels, or for a file "
            "of tokens say how many symbols they have, as --set data.vocabulary=256"
        )

    def _inside(self, low: int, high: int) -> None:
        if low < 0 or (self.vocabulary and high >= self.vocabulary):
            there = f"0 ... {self.vocabulary - 1}" if self.vocabulary else "0 and above"
            raise Refused(f"tokens must be {there}; the data have {low} ... {high}")
