"""The features of FID, KID and the Inception score, as torch-fidelity computes them."""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from undiffuse.core.errors import Refused
from undiffuse.evaluation.features.download import fetch, home
from undiffuse.evaluation.features.features import Features
from undiffuse.evaluation.features.images import refuse_unless_images, rgb, span, unit, walk

FILE, DIGEST = "weights-inception-2015-12-05-6726825d.pth", "6726825d"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"


@dataclass(frozen=True, eq=False)
class Inception(Features):
    """The 2048 pooled features of the Inception-v3 of 2015-12-05; for grey and RGB images, which it resizes to 299.

    In them the Frechet distance is FID (arXiv:1706.08500) and the kernel distance KID (arXiv:1801.01401). weights: the
    path of the file; "": downloaded once into the cache. Needs the package torch-fidelity.
    """

    weights: str = ""
    fitted: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    aliases: ClassVar[tuple[str, ...]] = ("inception_v3",)
    natural: ClassVar[bool] = True

    @property
    def about(self) -> dict[str, Any]:
        """Name, version, size and filter of the network's own resize, which weights, and the distances' usual names."""
        return {
            "features": "inception",
            "version": 1,
            "size": 299,
            "filter": "bilinear, as TensorFlow 1",
            "weights": _network(self.weights)[1],
            "called": {"frechet": "FID", "frechet_infinity": "FID, infinite samples", "kernel": "KID"},
        }

    def fit(self, x: np.ndarray) -> Self:
        """A copy that knows the values of black and white."""
        refuse_unless_images(x, "inception")
        return replace(self, fitted={"span": span(x)})

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The pooled features of the images, as 0 ... 255."""
        network, _ = _network(self.weights)

        def see(batch: np.ndarray) -> torch.Tensor:
            shown = rgb(unit(batch, self.fitted["span"]))
            return network((shown * 255).round().to(torch.uint8))[0]

        return walk(x, see, "inception")

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """The classes of the network's last layer without its bias, as the Inception score takes them."""
        network, _ = _network(self.weights)
        return torch.softmax(torch.from_numpy(vectors).double() @ network.fc.weight.detach().double().T, dim=1).numpy()


@cache
def _network(weights: str) -> tuple[Any, str]:
    """torch-fidelity's extractor with the weights, and the first digits of their SHA-256."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import (  # pyright: ignore[reportMissingImports]
            FeatureExtractorInceptionV3,
        )
    except ImportError as error:
        raise Refused(
            f"features inception need torch-fidelity, which needs torchvision ({error}): "
            "pip install 'undiffuse[inception]'"
        ) from error
    path = Path(weights) if weights else fetch(URL, DIGEST, home() / FILE)
    if not path.is_file():
        raise Refused(f"there are no weights at {path}; leave the path away to load them from {URL}")
    try:
        torch.load(path, weights_only=True)  # torch-fidelity does not ask that a file holds nothing but tensors
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise Refused(f"{path} does not hold Inception's weights: {reason}") from error
    return network, hashlib.sha256(path.read_bytes()).hexdigest()[:16]
