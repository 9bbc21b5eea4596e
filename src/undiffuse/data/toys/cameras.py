"""Cameras on a sphere around a scene: what a scene is trained from, and what is held out of it."""

import math
from dataclasses import dataclass

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.source import Source
from undiffuse.rendering.cameras import DISTANCE


@dataclass(frozen=True)
class Cameras(Source):
    """`count` cameras (azimuth, elevation, distance), in radians and units: azimuth and elevation even, the latter
    between these two in degrees, the distance between these two in units of the scene.

    Raises Refused for a count below 1, elevations outside (-90, 90) and distances at which a camera is in the scene.
    """

    count: int = 4096
    elevation: tuple[float, float] = (-10.0, 60.0)
    distance: tuple[float, float] = (DISTANCE, DISTANCE)
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.elevation
        near, far = self.distance
        if self.count < 1 or self.seed < 0 or not -90 < low <= high < 90 or not 1 < near <= far:
            raise Refused(
                "cameras need count >= 1, seed >= 0, an elevation of two degrees in order between -90 and 90, and a "
                f"distance of two numbers in order above 1, and were given {self}"
            )

    def load(self) -> Dataset:
        """The cameras, (count, 3) float32."""
        random = np.random.Generator(np.random.Philox(self.seed))
        azimuth = random.uniform(0, 2 * math.pi, self.count)
        elevation = np.radians(random.uniform(*self.elevation, self.count))
        x = np.stack([azimuth, elevation, random.uniform(*self.distance, self.count)], axis=1)
        return Dataset(x.astype(np.float32), name="cameras", drawn=True)
