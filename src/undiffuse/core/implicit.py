"""An implicit model: one call of a network makes a sample of normal noise; it has no likelihood."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.network import Network


class ImplicitNetwork(Network, ABC):
    """z -> an item. latents: how many numbers z has. shape: of an item. classes: of labels, 0 for none."""

    predicts: ClassVar[str] = "samples"
    forms: ClassVar[tuple[str, ...]] = ("label",)

    latents: int
    shape: tuple[int, ...]
    classes: int

    @abstractmethod
    def forward(self, z: Tensor, label: Tensor | None = None, drop: Drop = None) -> Tensor:
        """z (batch, latents) -> x (batch, *shape) in [-1, 1]."""


class ImplicitModel(nn.Module):
    """x = network(z given the label), z ~ N(0, 1), in float32 or better."""

    network: ImplicitNetwork

    def __init__(self, network: ImplicitNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor, **cond: Any) -> Tensor:
        x = self.network(z.to(next(self.network.parameters()).dtype), **cond)
        return x.to(torch.promote_types(x.dtype, torch.float32))
