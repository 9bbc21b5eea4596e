"""Principal components of the raw values: features for any data, without a network."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.evaluation.features.components import fit_projection
from undiffuse.evaluation.features.features import Features
from undiffuse.evaluation.features.scale import moments, scaled

MOST_FITTED = 20_000
ITEMS_PER_COMPONENT = 10


@dataclass(frozen=True, eq=False)
class PixelsFeatures(Features):
    """The principal components of the training items: at most `components`, and at most one for ten items on each side.

    Each covariance is thus estimated from ten times as many items as it has rows. The components are fitted to one half
    of the training items, and only other items are compared: samples, held-out items and the other half. Works for
    images, points, sequences and volumes.
    """

    components: int = 64
    fitted: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    learns: ClassVar[bool] = True
    by_place: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.components < 1:
            raise Refused(f"pixels needs at least 1 component, not {self.components}")

    @property
    def about(self) -> dict[str, Any]:
        """Name, version and number of components; once fitted, the share of the variance that they hold."""
        if not self.fitted:
            return {"features": "pixels", "version": 2, "components": self.components}
        kept = {"components": self.fitted["axes"].shape[1], "explained": float(self.fitted["explained"])}
        return {"features": "pixels", "version": 2, **kept}

    def limited(self, count: int) -> Self:
        """Ten items a side for each component."""
        return replace(self, components=max(1, min(self.components, count // ITEMS_PER_COMPONENT)))

    def fit(self, x: np.ndarray) -> Self:
        """A copy with the components of up to 20,000 of x; fewer where x varies in fewer directions."""
        chosen = np.arange(len(x))
        if len(chosen) > MOST_FITTED:
            chosen = np.sort(np.random.Generator(np.random.Philox(0)).choice(len(x), MOST_FITTED, replace=False))
        by = moments(x)
        found = fit_projection(scaled(x[chosen], by), self.components)
        explained = np.array(found.explained)
        return replace(self, fitted={**by, "mean": found.mean, "axes": found.axes, "explained": explained})

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The coordinates along the components."""
        by = self.fitted
        parts = [scaled(x[i : i + 4096], by) for i in range(0, len(x), 4096)]
        return np.concatenate([(part - by["mean"]) @ by["axes"] for part in parts])
