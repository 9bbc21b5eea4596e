"""Two spirals, one the other's mirror image in the origin."""

from dataclasses import dataclass

import numpy as np

from undiffuse.data.toys.plane import Toy


@dataclass(frozen=True)
class TwoSpirals(Toy):
    """+-(a cos a, a sin a) / 2 pi with a = 3 pi sqrt(u), u uniform: even along an arm; the label is the arm."""

    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Points on the spirals, (count, 2), and which spiral."""
        arm = random.integers(2, size=self.count)
        angle = 3 * np.pi * np.sqrt(random.uniform(size=self.count))
        radius = (1 - 2 * arm) * angle / (2 * np.pi)
        return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), arm
