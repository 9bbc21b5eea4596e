"""LPIPS: the distance of two images that was fitted to what people find alike; from its own package."""

import importlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss
from undiffuse.core.single_precision import in_float32
from undiffuse.losses.perceptual import unit


@dataclass(frozen=True, eq=False)
class LPIPSLoss(ReconstructionLoss):
    """n LPIPS(x_hat, x), n the numbers of an item: LPIPS added to each of them, as arXiv:2112.10752's code has it.

    Without units; 0 for x_hat = x. backbone: the network behind it; "vgg" is the usual one for training. Networks and
    weights are the package's, version 0.1. Where nothing is active the gradient is 0; that of the package's own
    distance is no number there.
    Grey and RGB images as pixels in [-1, 1]. Raises Refused without the package lpips, where the backbone's weights,
    which come from the internet once, cannot be had, and for other data. Source: arXiv:1801.03924, eq. 1.
    """

    weight: float = 1.0
    backbone: Literal["vgg", "alex", "squeeze"] = "vgg"

    @cached_property
    def network(self) -> Any:
        """The package's module, frozen."""
        return _network(self.backbone)

    @property
    def pixels(self) -> bool:  # type: ignore[override]
        return True

    def __call__(self, seen: Reconstruction) -> Tensor:
        """The distance of each item, (batch,)."""
        if seen.x.ndim != 4 or seen.x.shape[1] not in (1, 3):
            raise Refused(f"lpips sees grey and RGB images, and the data have shape {tuple(seen.x.shape[1:])}")
        with torch.no_grad():
            wanted = self._layers(seen.x)
        layers = zip(self.network.lins, self._layers(seen.x_hat), wanted, strict=True)
        depths = [weigh((a - b).square()).flatten(1).mean(1) for weigh, a, b in layers]
        return seen.x[0].numel() * torch.stack(depths).sum(0)

    def _layers(self, x: Tensor) -> list[Tensor]:
        """What the backbone sees, at each place of length 1."""
        return [unit(layer) for layer in self.network.net(self.network.scaling_layer(x.expand(-1, 3, -1, -1)))]


def _network(backbone: str) -> Any:
    try:
        package: Any = importlib.import_module("lpips")
    except ImportError as error:
        raise Refused(
            f"the loss lpips needs the package lpips ({error}): pip install 'undiffuse[lpips]'; perceptual needs none"
        ) from error
    try:
        with in_float32():
            made: Any = package.LPIPS(net=backbone, verbose=False)
    except OSError as error:
        raise Refused(
            f"the weights of {backbone} behind lpips cannot be had ({error}): download them where there is internet, "
            f"python -c \"import lpips; lpips.LPIPS(net='{backbone}')\", and copy ~/.cache/torch/hub here; perceptual "
            "needs no download"
        ) from error
    return made.eval().requires_grad_(False)
