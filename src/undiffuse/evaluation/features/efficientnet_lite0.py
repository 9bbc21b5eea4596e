"""Features of EfficientNet-Lite0, trained on ImageNet; its weights come from a package, without a download."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
import torch

from undiffuse.core.errors import Refused
from undiffuse.evaluation.features.features import Features
from undiffuse.evaluation.features.images import refuse_unless_images, resize, rgb, span, unit, walk
from undiffuse.feature_networks.efficient_network import EfficientNetLayers, trained
from undiffuse.feature_networks.efficientnet_lite0 import weights


@dataclass(frozen=True, eq=False)
class EfficientNetLite0(Features):
    """The 1280 pooled features of EfficientNet-Lite0, images resized to `size`; for grey and RGB images.

    A distance in them is not FID, which is in Inception's features. Source: arXiv:1905.11946, without
    squeeze-and-excitation and with ReLU6.
    """

    size: int = 96
    fitted: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    aliases: ClassVar[tuple[str, ...]] = ("efficientnet",)

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 1024:
            raise Refused(f"efficientnet_lite0 needs a size from 32 to 1024, not {self.size}")

    @property
    def about(self) -> dict[str, Any]:
        """Name, version, size and filter of the resize, precision, and which weights."""
        return {
            "features": "efficientnet_lite0",
            "version": 1,
            "size": self.size,
            "filter": "bicubic, antialiased",
            "precision": str(_dtype()).removeprefix("torch."),
            "weights": weights()[1],
        }

    def fit(self, x: np.ndarray) -> Self:
        """A copy that knows the values of black and white."""
        refuse_unless_images(x, "efficientnet_lite0")
        return replace(self, fitted={"span": span(x)})

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The pooled features, all above or equal to 0."""
        network, dtype = _network(), _dtype()

        def see(batch: np.ndarray) -> torch.Tensor:
            shown = rgb(resize(unit(batch, self.fitted["span"]), self.size))
            return network(((shown * 255 - 127) / 128).to(dtype, memory_format=torch.channels_last))

        return walk(x, see, "efficientnet_lite0")


@cache
def _network() -> EfficientNetLayers:
    return trained(torch.load(weights()[0], weights_only=True)).to(_dtype())


@cache
def _dtype() -> torch.dtype:
    """float16 where the processor supports it (it is within 1 % of float32; bfloat16 is not), else float32."""
    able = getattr(torch.cpu, "get_capabilities", dict)().get("avx512_fp16", False)
    return torch.float16 if able else torch.float32
