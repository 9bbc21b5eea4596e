"""Where a trained autoencoder puts data in their own units: what a diffusion model of latents is built on."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from torch import Tensor

from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused


class LatentSpace(ABC):
    """q(z given x) and x_hat of z, for items x (n, *shape) in the data's own units.

    inner: the codec of the data, which the encoder stands on. lossless_bound: whether `log_prob` is a normalised
    density, so that  -E log p(x given z) + KL  bounds -log p(x). vocabulary: how many tokens latents have; 0: none.
    digest: what tells its weights from any others.
    """

    @property
    @abstractmethod
    def inner(self) -> Any:
        """The codec of the data, which the encoder stands on."""

    @property
    @abstractmethod
    def lossless_bound(self) -> bool:
        """Whether p(x given z) is a normalised density."""

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """How many tokens latents have; 0: they are values."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """What tells its weights from any others."""

    @abstractmethod
    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the latents of an item of this shape; raises Refused for items that do not fit."""

    @abstractmethod
    def posterior(self, x: np.ndarray | Tensor) -> Distribution:
        """q(z given x), on the device of the weights."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """x_hat of latents z (n, *latent_shape), in the data's units and dtype, on z's device."""

    @abstractmethod
    def tokens(self, x: np.ndarray | Tensor) -> Tensor:
        """The numbers of the codes nearest to the latents of items x, int64 (n, ...), on the CPU.

        Raises Refused without a codebook.
        """

    @abstractmethod
    def latents_of(self, tokens: Tensor) -> Tensor:
        """The latents that tokens (n, ...) stand for, on their device; raises Refused without a codebook."""

    @abstractmethod
    def log_prob(self, x: np.ndarray | Tensor, z: Tensor) -> Tensor:
        """log p(x given z) in nats, (n,): of integers the probability of their levels, of other numbers a density in
        the data's own units; raises Refused where there is none.
        """

    def features(self, z: Tensor) -> list[Tensor]:
        """What the decoder computes of latents z on its way, first to last, (n, width, ...) each; gradients pass to z.

        Raises Refused where it does not show that.
        """
        raise Refused(f"{type(self).__name__} does not show what its decoder computes")
