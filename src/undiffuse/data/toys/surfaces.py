"""Points on the surfaces of simple solids: clouds that need no download."""

from dataclasses import dataclass

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.source import Source
from undiffuse.storage.notes import CLOUD

SHAPES = ("cube", "cylinder", "sphere", "torus")


@dataclass(frozen=True)
class Surfaces(Source):
    """`count` clouds (count, 3, points) float32, evenly drawn on the surface of a cube, a cylinder, a sphere or a
    torus, the label; the size is drawn from 0.7 to 1.3, and the solid is turned about the third axis by any angle.
    """

    count: int = 4000
    points: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.points < 2 or self.seed < 0:
            raise Refused(f"surfaces need count >= 1, points >= 2 and seed >= 0, and were given {self}")

    def load(self) -> Dataset:
        """The clouds with their shapes."""
        random = np.random.Generator(np.random.Philox(self.seed))
        label = random.integers(len(SHAPES), size=self.count)
        x = np.empty((self.count, self.points, 3))
        for number, shape in enumerate(SHAPES):
            at = label == number
            x[at] = _DRAWN[shape]((int(at.sum()), self.points), random)
        angle, size = random.uniform(0, 2 * np.pi, self.count), random.uniform(0.7, 1.3, (self.count, 1, 1))
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        turned = np.stack([cos * x[..., 0] - sin * x[..., 1], sin * x[..., 0] + cos * x[..., 1], x[..., 2]], axis=1)
        clouds = (turned * size).astype(np.float32)
        notes = {CLOUD: {"fewest": self.points, "most": self.points}}
        return Dataset(clouds, {"label": label}, SHAPES, "surfaces", notes=notes)


def _sphere(shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Of radius 1."""
    x = random.standard_normal((*shape, 3))
    return x / np.linalg.norm(x, axis=2, keepdims=True)


def _cube(shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Of side 1.6."""
    x, face = random.uniform(-0.8, 0.8, (*shape, 3)), random.integers(6, size=shape)
    return np.where(np.arange(3) == (face % 3)[..., None], np.where(face < 3, 0.8, -0.8)[..., None], x)


def _cylinder(shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Of radius 0.6 and height 2, with its ends: their share of the surface is r/(r + h)."""
    angle, high = random.uniform(0, 2 * np.pi, shape), random.uniform(-1, 1, shape)
    end = random.random(shape) < 0.6 / 2.6
    radius = np.where(end, 0.6 * np.sqrt(random.random(shape)), 0.6)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.where(end, np.sign(high), high)], axis=2)


def _torus(shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Of radii 0.8 and 0.3: places far from the axis have more surface, in proportion to 0.8 + 0.3 cos v."""
    around = random.uniform(0, 2 * np.pi, shape)
    grid = np.linspace(0, 2 * np.pi, 2049)
    share = (grid + 0.3 / 0.8 * np.sin(grid)) / (2 * np.pi)
    v = np.interp(random.random(shape), share, grid)
    out = 0.8 + 0.3 * np.cos(v)
    return np.stack([out * np.cos(around), out * np.sin(around), 0.3 * np.sin(v)], axis=2)


_DRAWN = {"cube": _cube, "cylinder": _cylinder, "sphere": _sphere, "torus": _torus}
