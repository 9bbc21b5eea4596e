"""A rolled-up sheet, seen from the side."""

from dataclasses import dataclass

import numpy as np

from undiffuse.data.toys.plane import Toy


@dataclass(frozen=True)
class SwissRoll(Toy):
    """(a cos a, a sin a) / 3 pi with the angle a uniform from 1.5 pi to 4.5 pi: the radius grows from 0.5 to 1.5."""

    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, None]:
        """Points on the roll, (count, 2); it is one part."""
        angle = np.pi * random.uniform(1.5, 4.5, self.count)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1) * (angle / (3 * np.pi))[:, None], None
