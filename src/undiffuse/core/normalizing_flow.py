"""A normalizing flow: an invertible network between data and normal noise, whose volume change is the likelihood."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.density import DensityModel
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.network import Network
from undiffuse.core.random import Random

EDGE = 0.05  # of the unit interval at each end, which the logit leaves out


class Bijection(Network, ABC):
    """An invertible network of items of one shape."""

    predicts: ClassVar[str] = "bijection"
    forms: ClassVar[tuple[str, ...]] = ("label",)

    @abstractmethod
    def forward(self, x: Tensor, label: Tensor | None = None, drop: Drop = None) -> tuple[Tensor, Tensor]:
        """x (batch, *shape) -> z of the same shape, and log |det dz/dx| (batch,)."""

    @abstractmethod
    def inverse(self, z: Tensor, label: Tensor | None = None, drop: Drop = None) -> Tensor:
        """The x that becomes z."""


class NormalizingFlow(DensityModel):
    """z = network(y),  y = logit(e + (1 - 2 e) u),  u = (level + noise) / levels,  z ~ N(0, 1),  e = 0.05.

    log P(x) >= E log p(u) - d log(levels) over uniform noise (arXiv:1511.01844, sec. 3.1): `log_prob` is one draw of
    it. levels: where encoded items lie. Source: arXiv:1605.08803, eq. 3 and sec. 4.1.
    """

    exact: ClassVar[bool] = False
    network: Bijection

    def __init__(self, network: Bijection, levels: Decoder) -> None:
        super().__init__()
        self.network, self.levels = network, levels

    def log_prob(self, x: Tensor, random: Random, **cond: Any) -> Tensor:
        places = self.levels.places(x)
        u = (places + random.uniform(tuple(x.shape), device=x.device)) / self.levels.levels
        inside = EDGE + (1 - 2 * EDGE) * u
        y = inside.logit()
        stretch = math.log(1 - 2 * EDGE) - inside.log() - (-inside).log1p()
        z, volume = self.network(y.to(next(self.network.parameters()).dtype), **cond)
        z = z.double()
        normal = -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1)
        bins = x[0].numel() * math.log(self.levels.levels)
        return normal + volume.double() + stretch.flatten(1).sum(1) - bins

    @torch.no_grad()
    def decode(self, z: Tensor, **cond: Any) -> Tensor:
        """Encoded items on their levels, of draws z (batch, *shape) from N(0, 1)."""
        y = self.network.inverse(z.to(next(self.network.parameters()).dtype), **cond).double()
        u = (y.sigmoid() - EDGE) / (1 - 2 * EDGE)
        return self.levels.values((u * self.levels.levels).floor().clamp(0, self.levels.levels - 1).long())
