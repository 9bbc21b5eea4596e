"""Two interleaved half circles."""

from dataclasses import dataclass

import numpy as np

from undiffuse.data.toys.plane import Toy


@dataclass(frozen=True)
class Moons(Toy):
    """Half circles of radius 1, the lower moved by (1, 1/2), and the pair centred; the label is the half circle."""

    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Points on the moons, (count, 2), and which moon."""
        moon = random.integers(2, size=self.count)
        angle = np.pi * (random.uniform(size=self.count) + moon)  # the upper half, then the lower
        points = np.stack([np.cos(angle) + moon, np.sin(angle) + 0.5 * moon], axis=1)
        return points - [0.5, 0.25], moon
