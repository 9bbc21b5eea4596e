"""Eight round clusters on a circle: a model that forgets some is caught by eye."""

from dataclasses import dataclass

import numpy as np

from undiffuse.data.toys.plane import Toy


@dataclass(frozen=True)
class EightGaussians(Toy):
    """Clusters every 45 degrees at radius sqrt(2), so that a coordinate has variance 1 + noise^2; labelled."""

    noise: float = 0.1

    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The centre of each point's cluster, (count, 2), and which cluster."""
        cluster = random.integers(8, size=self.count)
        angle = cluster * (np.pi / 4)
        return np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], axis=1), cluster
