"""Which run made latents, and whether they are normalised: what stands beside them in a file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

LATENTS, MADE_BY, MEAN, STD = "latents", "made_by", "mean", "std"  # the arrays of such a file


@dataclass(frozen=True)
class MadeBy:
    """run: the folder of the run that made the latents. digest: of its autoencoder. normalised: whether they are
    (latent - mean) / std. mean, std: of each channel of the latents before that, or of all.
    """

    run: str
    digest: str
    normalised: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, notes: Mapping[str, Any]) -> Self | None:
        """What the notes of a data set say of its items; None where these are no latents."""
        said = notes.get(LATENTS)
        return said and cls(**{**said, MEAN: tuple(said[MEAN]), STD: tuple(said[STD])})

    def arrays(self) -> dict[str, np.ndarray]:
        """What a file holds beside the latents."""
        said = json.dumps({"run": self.run, "digest": self.digest, "normalised": self.normalised})
        return {MADE_BY: np.array(said), MEAN: np.array(self.mean), STD: np.array(self.std)}
