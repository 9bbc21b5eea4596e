"""Cameras on a sphere around the origin that look at it: where they stand, their rays, and where points appear.

A camera is a row (azimuth, elevation, distance), in radians and in units of the scene, which lies within 1 of the
origin. The third axis points up; azimuth 0 is on the first axis, pi/2 on the second.
"""

import math

import torch
from torch import Tensor

FIELD_OF_VIEW = math.radians(40)  # of the whole picture, from one side to the other
DISTANCE = 3.0  # from here the unit sphere just fits into the picture
OVERHEAD = math.radians(60)  # the elevation from which a view is from above (arXiv:2209.14988, sec. 3.2)
VIEWS = ("front", "side", "back", "overhead")


def towards(cameras: Tensor) -> Tensor:
    """The unit vectors from the origin to the cameras, (batch, 3)."""
    azimuth, elevation = cameras[:, 0], cameras[:, 1]
    flat = elevation.cos()
    return torch.stack([flat * azimuth.cos(), flat * azimuth.sin(), elevation.sin()], dim=1)


def axes(cameras: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors of the picture, (batch, 3) each: to the right, upwards, and forward into the scene."""
    azimuth, forward = cameras[:, 0], -towards(cameras)
    right = torch.stack([-azimuth.sin(), azimuth.cos(), torch.zeros_like(azimuth)], dim=1)
    return right, torch.linalg.cross(right, forward), forward


def rays(cameras: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where rays begin, (batch, 3), and their unit directions through the middles of pixels, (batch, size, size, 3):
    rows from the top, columns from the left.
    """
    reach = math.tan(FIELD_OF_VIEW / 2)
    middle = (torch.arange(size, dtype=cameras.dtype, device=cameras.device) + 0.5) * (2 / size) - 1
    right, up, forward = (axis[:, None, None] for axis in axes(cameras))
    across, down = (middle * reach)[None, None, :, None], (middle * reach)[None, :, None, None]
    directions = torch.nn.functional.normalize(forward + across * right - down * up, dim=-1)
    return cameras[:, 2:] * towards(cameras), directions


def project(points: Tensor, cameras: Tensor, size: int) -> Tensor:
    """Where points (count, 3) appear, (batch, count, 2): (row, column) in pixels, (0, 0) the top left corner."""
    away = points[None] - (cameras[:, 2:] * towards(cameras))[:, None]  # (batch, count, 3)
    right, up, depth = (torch.einsum("bnk,bk->bn", away, axis) for axis in axes(cameras))
    scale = size / 2 / math.tan(FIELD_OF_VIEW / 2) / depth
    return torch.stack([size / 2 - up * scale, size / 2 + right * scale], dim=-1)


def turntable(count: int, elevation: float = math.radians(20)) -> Tensor:
    """So many cameras evenly around the scene, (count, 3) float32, at one elevation."""
    azimuth = torch.arange(count, dtype=torch.float32) * (2 * math.pi / count)
    rest = torch.tensor([elevation, DISTANCE], dtype=torch.float32).expand(count, 2)
    return torch.cat([azimuth[:, None], rest], dim=1)


def views(cameras: Tensor) -> Tensor:
    """Which of VIEWS each camera has, (batch,) int64: within pi/4 of azimuth 0 it is the front."""
    quarter = ((cameras[:, 0] / (math.pi / 2)).round().long()) % 4  # 0: front, 1 and 3: a side, 2: back
    return torch.where(cameras[:, 1] > OVERHEAD, 3, torch.where(quarter == 3, 1, quarter))
