"""Codecs of the vectors that a trained pair of encoders gives of items, which are modelled in the items' place."""

from abc import ABC
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from undiffuse.codecs.codec import Codec
from undiffuse.core.item_encoder import ItemEncoder


@dataclass(frozen=True)
class ItemVectors(Codec, ABC):
    """encoder: the run of kind clip that makes the vectors of items; in a recipe its folder."""

    embeds: ClassVar[bool] = True

    encoder: ItemEncoder = field(compare=False)

    @property
    def space(self) -> str:
        return self.encoder.digest

    def vectors(self, x: np.ndarray) -> np.ndarray:
        return self.encoder.encode_image(x).float().numpy()
