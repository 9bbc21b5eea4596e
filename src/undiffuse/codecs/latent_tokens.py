"""Codes of latents: an autoencoder with a codebook at the edges of a model of tokens."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import ArrayLike, Codec, slices
from undiffuse.core.errors import Refused
from undiffuse.core.latent_space import LatentSpace
from undiffuse.core.random import Random


@dataclass(frozen=True)
class LatentTokens(Codec):
    """z = the numbers of the codes nearest to the latents of x, (count, places), row after row; decoding is the decoder
    on these codes.

    grid: (count, 1, *places), codes where they stand in the latent, as an autoregressive run takes them.
    autoencoder: the run, whose bottleneck has a codebook; in a recipe its folder. vocabulary: the codes; frequencies:
    the share of each among the training data's. shape, dtype: of an item of the data.
    Source: arXiv:1711.00937, sec. 3.3.  Raises Refused for an autoencoder without a codebook, and for other items.
    """

    tokens = True
    lossy: ClassVar[bool] = True

    autoencoder: LatentSpace = field(compare=False)
    vocabulary: int = 0
    frequencies: tuple[float, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    grid: bool = False

    def __post_init__(self) -> None:
        if not self.autoencoder.vocabulary:
            raise Refused(
                "codec.autoencoder has no codebook, so that latents are no tokens: take a run with bottleneck.name = "
                "'vq', or the codec latent"
            )

    @property
    def stamp(self) -> str:
        """What `prepare` depends on besides the items."""
        return f"tokens {self.autoencoder.digest}{' grid' * self.grid}"

    def fit(self, x: ArrayLike, **beside: ArrayLike) -> Self:
        """A copy with the vocabulary and how frequent each code is among the items x."""
        return self._counted(x, (self.prepare(part).numpy() for part in slices(x)))

    def fit_prepared(self, x: ArrayLike, prepared: ArrayLike) -> Self:
        return self._counted(x, slices(prepared))

    def encode(self, x: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """Codes as int64, (count, places) or (count, 1, *places)."""
        return self.finish(self.prepare(x), random)

    def prepare(self, x: np.ndarray | Tensor) -> Tensor:
        """The same as int32."""
        self.autoencoder.latent_shape(tuple(x.shape[1:]))
        found = self.autoencoder.tokens(x).int()
        return found.reshape(len(found), 1, *found.shape[1:]) if self.grid else found.flatten(1)

    def finish(self, prepared: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """The same as int64."""
        return torch.as_tensor(prepared).long()

    @torch.no_grad()
    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """The items that the decoder makes of codes, in the data's units and dtype."""
        places = self.autoencoder.latent_shape(self.shape)[1:]
        return self.autoencoder.decode(self.autoencoder.latents_of(z.reshape(len(z), *places)))

    def decoded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The data's shape."""
        return self.shape

    def no_density(self) -> str:
        return "a likelihood of pixels through a lossy codec, 'latent_tokens', is not known: many items have one code"

    def _counted(self, x: ArrayLike, parts: Iterable[np.ndarray]) -> Self:
        size = self.autoencoder.vocabulary
        counts = sum(np.bincount(part.reshape(-1).astype(np.int64), minlength=size) for part in parts)
        shares = tuple((counts / np.sum(counts)).tolist())
        return replace(self, vocabulary=size, frequencies=shares, shape=tuple(x.shape[1:]), dtype=x.dtype.name)
