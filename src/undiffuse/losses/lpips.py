"""LPIPS: the distance of two images that was fitted to what people find alike; from its own package."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import Tensor, nn

from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.errors import Refused
from undiffuse.core.objective import RUN
from undiffuse.core.random import Random
from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss
from undiffuse.core.single_precision import in_float32


@dataclass(frozen=True, eq=False)
class LPIPSLoss(ReconstructionLoss):
    """n LPIPS(x_hat, x), n the numbers of an item: LPIPS added to each of them, as arXiv:2112.10752's code has it.

    Without units; 0 for x_hat = x. backbone: the network behind it; "vgg" is the usual one for training.
    Grey and RGB images as pixels in [-1, 1]. Raises Refused without the package lpips, where the backbone's weights,
    which come from the internet once, cannot be had, and for other data. Source: arXiv:1801.03924, version 0.1 of its
    weights.
    """

    weight: float = 1.0
    backbone: Literal["vgg", "alex", "squeeze"] = "vgg"

    @cached_property
    def network(self) -> nn.Module:
        """The package's network, frozen."""
        return _network(self.backbone)

    @property
    def pixels(self) -> bool:  # type: ignore[override]
        return True

    def __call__(
        self, model: Autoencoder, seen: Reconstruction, random: Random, step: int = 0, player: str = RUN
    ) -> Tensor:
        """The distance of each item, (batch,)."""
        if seen.x.ndim != 4 or seen.x.shape[1] not in (1, 3):
            raise Refused(f"lpips sees grey and RGB images, and the data have shape {tuple(seen.x.shape[1:])}")
        x, x_hat = (each.expand(-1, 3, -1, -1) for each in (seen.x, seen.x_hat))
        return seen.x[0].numel() * self.network(x_hat, x).to(x_hat.dtype).flatten(1).sum(1)


def _network(backbone: str) -> nn.Module:
    try:
        import lpips  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise Refused(
            f"the loss lpips needs the package lpips ({error}): pip install 'undiffuse[lpips]'; perceptual needs none"
        ) from error
    try:
        with in_float32():
            made: Any = lpips.LPIPS(net=backbone, verbose=False)
    except OSError as error:
        raise Refused(
            f"the weights of {backbone} behind lpips cannot be had ({error}): download them where there is internet, "
            f"python -c \"import lpips; lpips.LPIPS(net='{backbone}')\", and copy ~/.cache/torch/hub here; perceptual "
            "needs no download"
        ) from error
    return made.eval().requires_grad_(False)
