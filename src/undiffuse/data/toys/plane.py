"""Random points in the plane, the same for the same seed."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.source import Source


@dataclass(frozen=True)
class Toy(Source):
    """`count` independent points of about unit scale, float32, blurred by Gaussian noise of deviation `noise`."""

    count: int = 10_000
    noise: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.noise < 0 or self.seed < 0:
            raise Refused(f"a toy needs count >= 1, noise >= 0 and seed >= 0, and was given {self}")

    @abstractmethod
    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        """Points (count, 2) without noise, and which of the shape's parts each comes from, or None."""

    def load(self) -> Dataset:
        """The points, with the part as label where the shape has parts."""
        random = np.random.Generator(np.random.Philox(self.seed))
        points, part = self.draw(random)
        x = (points + self.noise * random.standard_normal(points.shape)).astype(np.float32)
        name = "".join(f" {c.lower()}" if c.isupper() else c for c in type(self).__name__).strip()
        if part is None:
            return Dataset(x, name=name)
        classes = tuple(map(str, range(int(part.max()) + 1)))
        return Dataset(x, {"label": part.astype(np.int64)}, classes, name)
