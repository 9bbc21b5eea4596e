"""Pictures of solids from all around, with their shape, colour and camera: data for models of three dimensions."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused, unknown
from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import Decoded, find, load_items, place, remember
from undiffuse.data.rows import Items
from undiffuse.data.source import Source
from undiffuse.data.toys.cameras import Cameras
from undiffuse.progress import progress_bar
from undiffuse.rendering import cameras

COLOURS = {
    "blue": (0.15, 0.25, 0.85),
    "cyan": (0.10, 0.75, 0.80),
    "green": (0.15, 0.65, 0.20),
    "purple": (0.60, 0.15, 0.70),
    "red": (0.85, 0.12, 0.12),
    "yellow": (0.95, 0.80, 0.10),
}
JITTER, SCALE = 0.03, (0.9, 1.05)  # of colours; of sizes
LIGHT, AMBIENT = (0.36, 0.48, 0.8), 0.4  # it stands still, so that a place has the same colour from everywhere
MARCH, CLOSE, FAR = 40, 2e-3, 1.0  # steps along a ray, what counts as a hit, and the radius of all there is
TOGETHER = 64  # pictures that are computed at once
KEPT = 2**21  # bytes of pictures from which on they are kept: seconds of rendering
RENDERING = 1  # counts up when the same solids are rendered to other numbers
Distance = Callable[[Tensor], Tensor]  # points (n, 3) -> signed distances (n,), or less, negative inside


@dataclass(frozen=True)
class Solids(Source):
    """`count` pictures, (count, 3, size, size) uint8, of a solid before white, from drawn cameras; an item has the
    `label` of its shape, its `colour` as red, green and blue in [0, 1], `camera`, the unit vector to the camera, and a
    `text` such as "red cone, side view", with the words of `rendering.cameras.VIEWS`.

    Shape, colour, azimuth, elevation in [-10, 60] degrees and size are drawn independently. Light falls from one
    side of the scene: colour x (0.4 + 0.6 max(0, normal . light)). without: combinations that are never drawn, such
    as "blue cone". only: the combinations that are drawn, () for all.
    Raises Refused for numbers out of range, and for combinations that there are not.
    """

    count: int = 8000
    size: int = 32
    without: tuple[str, ...] = ("blue cone",)
    only: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0 or not 8 <= self.size <= 128:
            raise Refused(f"solids need count >= 1, seed >= 0 and a size of 8 to 128, and were given {self}")
        known = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
        for pair in (*self.without, *self.only):
            if pair not in known:
                raise unknown("solids", pair, known)
        if not self._pairs:
            raise Refused("solids of no combination: data.without leaves none of data.only")

    @property
    def _pairs(self) -> list[tuple[str, str]]:
        """(colour, shape) that are drawn."""
        every = ((colour, shape) for colour in COLOURS for shape in SHAPES)
        named = {pair: f"{pair[0]} {pair[1]}" for pair in every}
        return [p for p, name in named.items() if name not in self.without and (not self.only or name in self.only)]

    def load(self) -> Dataset:
        """The pictures with their conditions."""
        random = np.random.Generator(np.random.Philox(self.seed))
        chosen = random.integers(len(self._pairs), size=self.count)
        azimuth = random.uniform(0, 2 * math.pi, self.count)
        elevation = np.radians(random.uniform(*Cameras.elevation, self.count))
        scale = torch.from_numpy(random.uniform(*SCALE, self.count)).float()
        spread = JITTER * random.standard_normal((self.count, 3))
        pairs = np.array(self._pairs)[chosen]
        colour = (np.array([COLOURS[name] for name in pairs[:, 0]]) + spread).clip(0, 1).astype(np.float32)
        where = torch.from_numpy(np.stack([azimuth, elevation, np.full(self.count, cameras.DISTANCE)], axis=1)).float()
        x = self._rendered(pairs[:, 1], torch.from_numpy(colour), where, scale)
        labels = np.array([list(SHAPES).index(shape) for shape in pairs[:, 1]], np.int64)
        views = np.array(cameras.VIEWS)[cameras.views(where).numpy()]
        text = np.array([f"{c} {shape}, {view} view" for (c, shape), view in zip(pairs, views, strict=True)])
        conditions = {"label": labels, "colour": colour, "camera": cameras.towards(where).numpy(), "text": text}
        return Dataset(x, conditions, tuple(SHAPES), "solids", drawn=True)

    def _rendered(self, named: np.ndarray, colour: Tensor, where: Tensor, scale: Tensor) -> Items:
        """The pictures of these shapes; many are kept on the disk for the next time."""
        there = place(("solids", RENDERING, self), [])
        if (kept := find(there)) is not None:
            return load_items(there, kept)
        x = np.empty((self.count, 3, self.size, self.size), np.uint8)
        with progress_bar(total=self.count, desc="rendering solids", unit="picture", delay=2, leave=False) as bar:
            for shape in SHAPES:
                for rows in torch.from_numpy(np.flatnonzero(named == shape)).split(TOGETHER):
                    if not len(rows):
                        continue
                    x[rows] = pictures(shape, colour[rows], where[rows], scale[rows], self.size)
                    bar.update(len(rows))
        return remember(there, Decoded(x)).x if x.nbytes >= KEPT else x


def pictures(shape: str, colour: Tensor, where: Tensor, scale: Tensor, size: int) -> np.ndarray:
    """A solid of each colour (n, 3), from cameras (n, 3), scaled: (n, 3, size, size) uint8, four rays a pixel."""
    begin, directions = cameras.rays(where, 2 * size)
    rays = directions.reshape(len(where), -1, 3)
    scale = scale[:, None].expand(rays.shape[:2]).flatten()
    found, ray = _march(SHAPES[shape], begin[:, None].expand_as(rays).reshape(-1, 3), rays.reshape(-1, 3), scale)
    light = colour.new_tensor(LIGHT)
    shade = AMBIENT + (1 - AMBIENT) * (_normals(SHAPES[shape], found) @ light / light.norm()).clamp(min=0)
    seen = torch.ones(len(scale), 3, dtype=torch.float32)
    seen[ray] = colour[ray // rays.shape[1]] * shade[:, None]
    whole = seen.reshape(len(where), size, 2, size, 2, 3).mean((2, 4))
    return (whole.clamp(0, 1) * 255).round().byte().permute(0, 3, 1, 2).numpy()


def _march(distance: Distance, begin: Tensor, direction: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays hit a solid, in its own scale, and which of them do: sphere tracing from the unit sphere on."""
    along = -(begin * direction).sum(1)
    inside = FAR**2 - (begin.square().sum(1) - along.square())
    ray = inside.clamp(min=0).nonzero()[:, 0]
    half = inside[ray].clamp(min=0).sqrt()
    t, last, scale = along[ray] - half, along[ray] + half, scale[ray]
    begin, direction = begin[ray], direction[ray]
    hits = torch.zeros(len(ray), dtype=torch.bool)
    going = torch.arange(len(ray))
    for _ in range(MARCH):
        points = (begin[going] + t[going, None] * direction[going]) / scale[going, None]
        step = distance(points) * scale[going]
        t[going] += step
        hits[going] = step < CLOSE
        going = going[(step >= CLOSE) & (t[going] < last[going])]
    at = hits.nonzero()[:, 0]
    return (begin[at] + t[at, None] * direction[at]) / scale[at, None], ray[at]


def _normals(distance: Distance, points: Tensor, h: float = 1e-3) -> Tensor:
    """Unit normals (n, 3), by central differences."""
    moved = h * torch.eye(3, dtype=points.dtype)
    slope = torch.stack([distance(points + each) - distance(points - each) for each in moved], dim=1)
    return torch.nn.functional.normalize(slope, dim=1)


def _box(points: Tensor, middle: tuple[float, ...], half: tuple[float, ...]) -> Tensor:
    q = (points - points.new_tensor(middle)).abs() - points.new_tensor(half)
    return q.clamp(min=0).norm(dim=1) + q.amax(1).clamp(max=0)


def _cylinder(points: Tensor) -> Tensor:
    q = torch.stack([points[:, :2].norm(dim=1) - 0.5, points[:, 2].abs() - 0.7], dim=1)
    return q.clamp(min=0).norm(dim=1) + q.amax(1).clamp(max=0)


def _cone(points: Tensor, height: float = 1.5, radius: float = 0.72, base: float = -0.6) -> Tensor:
    """Less than the distance beyond the rim, so that no ray steps through."""
    up, out = points[:, 2] - base, points[:, :2].norm(dim=1)
    side = (out * height + (up - height) * radius) / math.hypot(height, radius)
    return torch.maximum(side, -up)


def _torus(points: Tensor) -> Tensor:
    """It stands upright: a ring from azimuth 0."""
    return torch.hypot(points[:, 1:].norm(dim=1) - 0.63, points[:, 0]) - 0.25


def _steps(points: Tensor) -> Tensor:
    """Two steps that rise away from azimuth 0."""
    low, high = _box(points, (0.0, 0.0, -0.3), (0.6, 0.5, 0.3)), _box(points, (-0.3, 0.0, 0.3), (0.3, 0.5, 0.3))
    return torch.minimum(low, high)


SHAPES: Mapping[str, Distance] = {
    "cone": _cone,
    "cube": lambda points: _box(points, (0.0,) * 3, (0.54,) * 3),
    "cylinder": _cylinder,
    "sphere": lambda points: points.norm(dim=1) - 0.75,
    "steps": _steps,
    "torus": _torus,
}
