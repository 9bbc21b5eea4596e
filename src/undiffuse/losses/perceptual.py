"""The distance of two images in what a network sees of them at several depths."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from undiffuse.core.feature_network import FeatureNetwork
from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss
from undiffuse.feature_networks.efficientnet_lite0 import EfficientNetLite0Layers

TINY = 1e-10  # beneath the root, so that places without any activation have a gradient, too


@dataclass(frozen=True, eq=False)
class PerceptualLoss(ReconstructionLoss):
    """n mean over depths l and places of |u_l(x_hat) - u_l(x)|^2, u_l the activations, at each place of length 1.

    n, the numbers of an item, makes it comparable with `L1Loss`, which is summed over them, and is what adding a
    distance to each number does (arXiv:2112.10752's code). Without units; at most 4 n; 0 for x_hat = x.
    network: a feature network, or the path of a run of your own, of a kind that sees items at several depths, such as a
    classifier trained on the same data with the same codec. Gradients pass through it, and it stays as it is.
    Raises Refused for data that the network does not see. Source: arXiv:1801.03924, eq. 1 with w = 1 and a mean over
    depths.
    """

    weight: float = 1.0
    network: FeatureNetwork = field(default_factory=EfficientNetLite0Layers)

    @property
    def pixels(self) -> bool:  # type: ignore[override]
        """Whether its network reads pixels in [-1, 1]."""
        return self.network.pixels

    def __call__(self, seen: Reconstruction) -> Tensor:
        """The distance of each item, (batch,)."""
        with torch.no_grad():
            wanted = [unit(layer) for layer in self.network.layers(seen.x)]
        found = [unit(layer) for layer in self.network.layers(seen.x_hat)]
        depths = [(a - b).square().sum(1).flatten(1).mean(1) for a, b in zip(found, wanted, strict=True)]
        return seen.x[0].numel() * torch.stack(depths).mean(0)


def unit(layer: Tensor) -> Tensor:
    """Activations (batch, width, *places) with length 1 at each place, in float32 or better."""
    wide = layer.to(torch.promote_types(layer.dtype, torch.float32))
    return wide * (wide.square().sum(1, keepdim=True) + TINY).rsqrt()
