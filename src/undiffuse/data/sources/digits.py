"""The 1,797 handwritten digits that scikit-learn ships: real images that need no download."""

from dataclasses import dataclass

import numpy as np

from undiffuse.data.dataset import Dataset
from undiffuse.data.source import Source


@dataclass(frozen=True)
class Digits(Source):
    """1,797 images of 1 x 8 x 8, uint8, with labels 0 to 9; the source's 17 grey levels are spread over 0 to 255.

    Source: UCI "Optical Recognition of Handwritten Digits", test part, CC BY 4.0 (doi:10.24432/C50P49).
    """

    def load(self) -> Dataset:
        """All digits in the order of the source."""
        from sklearn.datasets import load_digits

        levels, labels = load_digits(return_X_y=True)  # 0 .. 16, (1797, 64)
        x = np.round(levels * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
        return Dataset(x, {"label": np.asarray(labels, np.int64)}, tuple("0123456789"), "digits")
