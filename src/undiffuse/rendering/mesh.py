"""The surface of a density as triangles, and the files that meshes become."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.rendering.renderable import Field

SIDE = 64  # cubes along an axis
BLOCK = 2**16  # points that are asked for together


@dataclass(frozen=True, eq=False)
class Mesh:
    """vertices: (n, 3) places; faces: (m, 3) vertices of each triangle, anticlockwise seen from outside, none of a
    cloud of points; colours: (n, 3) uint8; None: there are none.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None = None

    def obj(self) -> bytes:
        """A Wavefront .obj with a colour behind each vertex; its vertices count from 1."""
        places = self.vertices
        if self.colours is not None:
            places = np.concatenate([places, self.colours / 255], axis=1)
        lines = [*(f"v {' '.join(f'{number:.6f}' for number in row)}" for row in places)]
        lines += [f"f {a} {b} {c}" for a, b, c in self.faces + 1]
        return ("\n".join(lines) + "\n").encode()

    def ply(self) -> bytes:
        """A binary .ply, with the colours that there are."""
        tints = () if self.colours is None else ("red", "green", "blue")
        coloured = "".join(f"property uchar {name}\n" for name in tints)
        head = (
            f"ply\nformat binary_little_endian 1.0\nelement vertex {len(self.vertices)}\nproperty float x\n"
            f"property float y\nproperty float z\n{coloured}"
            f"element face {len(self.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
        )
        corners = np.empty(len(self.vertices), [("place", "<f4", 3), ("colour", "u1", len(tints))])
        corners["place"] = self.vertices
        corners["colour"] = self.colours if self.colours is not None else np.zeros((len(corners), 0))
        triangles = np.empty(len(self.faces), [("count", "u1"), ("corners", "<i4", 3)])
        triangles["count"], triangles["corners"] = 3, self.faces
        return head.encode() + corners.tobytes() + triangles.tobytes()


def mesh(field: Field, level: float, side: int = SIDE, device: torch.device | str = "cpu") -> Mesh:
    """The surface inside the unit sphere where the density is `level`, by surface nets: one vertex in each cube of
    side^3 that the surface passes, the mean of where it crosses the cube's edges, and two triangles around each such
    edge. Raises Refused where no density is above the level.

    Source: Gibson, Constrained elastic surface nets, 1998.
    """
    ticks = torch.linspace(-1.05, 1.05, side + 1, dtype=torch.float32)
    corners = torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij"), dim=-1)
    density, _ = _asked(field, corners.reshape(-1, 3), device)
    inside = torch.where(corners.norm(dim=-1) < 1, density.reshape(corners.shape[:3]), 0.0).double().numpy() - level
    if inside.max() <= 0:
        raise Refused(f"the scene has no surface: its density is nowhere {level:g} or more")
    places, faces = surface_net(inside)
    vertices = places * (2.1 / side) - 1.05
    _, colours = _asked(field, torch.from_numpy(vertices).float(), device)
    return Mesh(vertices.astype(np.float32), faces, (255 * colours).round().byte().numpy())


def surface_net(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, 3) in units of the grid and triangles (m, 3) of where values at grid points cross 0; values are
    positive inside, and negative all around.
    """
    positive = values > 0
    cells = tuple(size - 1 for size in values.shape)
    total, count = np.zeros((*cells, 3)), np.zeros(cells, np.int64)
    edges = [_crossings(values, positive, axis) for axis in range(3)]
    for axis, (start, place) in enumerate(edges):
        for near in _around(axis):
            cell = tuple((start - near).T)
            np.add.at(total, cell, place)
            np.add.at(count, cell, 1)
    found = np.flatnonzero(count)
    number = np.zeros(count.size, np.int64)
    number[found] = np.arange(len(found))
    number = number.reshape(cells)
    vertices = total.reshape(-1, 3)[found] / count.reshape(-1)[found, None]
    faces: list[np.ndarray] = []
    for axis, (start, _) in enumerate(edges):
        ring = np.stack([number[tuple((start - near).T)] for near in _around(axis)], axis=1)  # (edges, 4)
        outward = positive[tuple(start.T)]  # the surface is left along the axis
        ring = np.where(outward[:, None], ring, ring[:, ::-1])
        faces += [ring[:, [0, 1, 2]], ring[:, [0, 2, 3]]]
    return vertices, np.concatenate(faces)


def _crossings(values: np.ndarray, positive: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The grid points at which edges along an axis begin that the surface crosses, (n, 3), and where it does."""
    size = values.shape[axis]
    first, second = (np.take(positive, range(i, size - 1 + i), axis) for i in (0, 1))
    start = np.argwhere(first != second)
    end = start + np.eye(3, dtype=np.int64)[axis]
    here, there = values[tuple(start.T)], values[tuple(end.T)]
    place = start.astype(np.float64)
    place[:, axis] += here / (here - there)
    return start, place


def _around(axis: int) -> Sequence[np.ndarray]:
    """From the four cubes around an edge along an axis to its grid point, anticlockwise seen against the axis."""
    u, v = np.eye(3, dtype=np.int64)[[(axis + 1) % 3, (axis + 2) % 3]]
    return (0 * u, u, u + v, v)


@torch.no_grad()
def _asked(field: Field, points: Tensor, device: torch.device | str) -> tuple[Tensor, Tensor]:
    found = [field(part.to(device)) for part in points.split(BLOCK)]
    density, colour = zip(*found, strict=True)
    return torch.cat(density).cpu(), torch.cat(colour).cpu()
