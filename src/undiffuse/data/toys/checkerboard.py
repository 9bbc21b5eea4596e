"""The eight dark squares of a four by four board, filled evenly."""

from dataclasses import dataclass

import numpy as np

from undiffuse.data.toys.plane import Toy


@dataclass(frozen=True)
class Checkerboard(Toy):
    """Uniform over those squares of side 1 in [-2, 2]^2 whose column and row add up to an even number; sharp edges."""

    noise: float = 0.0

    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, None]:
        """Points on the dark squares, (count, 2); they are one part."""
        column = random.integers(4, size=self.count)
        row = 2 * random.integers(2, size=self.count) + column % 2
        return np.stack([column, row], axis=1) - 2 + random.uniform(size=(self.count, 2)), None
