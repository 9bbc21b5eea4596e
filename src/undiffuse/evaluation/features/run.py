"""Features of a run of your own: the unit vectors that a pair of encoders, such as CLIP, makes of items."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from undiffuse.core.item_encoder import ItemEncoder
from undiffuse.evaluation.features.features import Features


@dataclass(frozen=True, eq=False)
class RunFeatures(Features):
    """The vectors of a run, `--features run:FOLDER`; it reads captions as well, see the metric `clip_score`.

    encoder: a run that brings items and texts together, or its folder.
    """

    encoder: ItemEncoder
    fitted: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    natural: ClassVar[bool] = True

    @property
    def about(self) -> dict[str, Any]:
        """Name, version and the digest of the weights."""
        return {"features": "run", "version": 1, "digest": self.encoder.digest}

    def fit(self, x: np.ndarray) -> Self:
        """The features, tried on two items."""
        self(x[:2])
        return self

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The unit vectors of the items."""
        return self.encoder.encode_image(x).numpy().astype(np.float32)
