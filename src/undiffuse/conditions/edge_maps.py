"""Drawings of pictures: edges, their strength, straight lines and scribbles, each one grey channel in [0, 1]."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.operators.blur import Blur
from undiffuse.operators.grey import Grey

LOW, HIGH = 0.1, 0.2  # slopes, of a picture from 0 to 1: an edge begins above the second and goes on above the first
EQUAL = 1e-6  # slopes that differ by no more differ by rounding: of such neighbours one is the edge
ANGLES = 90  # directions of lines, two degrees apart
STEPS = ((0, 1), (1, 1), (1, 0), (1, -1))  # rows and columns along 0, 45, 90 and 135 degrees


def slopes(x: Tensor, std: float) -> tuple[Tensor, Tensor]:
    """The slope down and to the right of x (batch, channels, height, width), grey and blurred by `std` pixels:
    Sobel's, over 4, so that an upright step from 0 to 1 has the slope 1 where it is not blurred.
    """
    grey = Grey()(x)
    grey = F.pad(Blur(std)(grey) if std else grey, (1, 1, 1, 1), mode="replicate")
    smooth, rise = (torch.tensor(row, dtype=x.dtype) for row in ((0.25, 0.5, 0.25), (-1.0, 0.0, 1.0)))
    down, right = (torch.outer(*pair).reshape(1, 1, 3, 3) for pair in ((rise, smooth), (smooth, rise)))
    return F.conv2d(grey, down), F.conv2d(grey, right)


def soft_edges(x: Tensor, std: float = 1.0) -> Tensor:
    """How steep the blurred picture is at each place, at most 1."""
    down, right = slopes(x, std)
    return (down.square() + right.square()).sqrt().clamp(max=1)


def edges(x: Tensor, std: float = 1.0) -> Tensor:
    """Canny's edges, 1 on lines one pixel wide and else 0: where the slope is the greatest along its own direction,
    above `HIGH`, or above `LOW` and connected to such. Source: J. Canny, 1986, doi:10.1109/TPAMI.1986.4767851.
    """
    from scipy.ndimage import label  # takes long to import

    down, right = slopes(x, std)
    steep = (down.square() + right.square()).sqrt()
    which = torch.atan2(down, right).div(math.pi / 4).round().long() % 4
    ahead, behind = (torch.stack([_moved(steep, sign, step) for step in STEPS]) for sign in (1, -1))
    ahead, behind = (each.gather(0, which[None])[0] for each in (ahead, behind))
    thin = torch.where((steep > ahead + EQUAL) & (steep >= behind - EQUAL), steep, 0.0)
    found: Any = label(thin.numpy()[:, 0] > LOW, np.array([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))]))
    parts, count = found
    kept = np.zeros(count + 1, bool)
    kept[parts[thin.numpy()[:, 0] > HIGH]] = True
    return torch.from_numpy(kept[parts]).to(x.dtype)[:, None]


def lines(x: Tensor, length: float, std: float = 1.0) -> Tensor:
    """Those edges that lie on a straight line with at least `length` others, by Hough's transform: each edge at (row,
    column) counts for all lines  row sin(a) + column cos(a) = r  through it, r rounded to a pixel.
    """
    if not length > 1:
        raise Refused(f"a line has 2 pixels or more, not {length:g}")
    found = edges(x, std)
    height, width = found.shape[-2:]
    rows = torch.arange(height, dtype=torch.float64)[:, None]
    columns = torch.arange(width, dtype=torch.float64)
    flat, most = found.flatten(1), torch.zeros(len(x), height * width, dtype=x.dtype)
    for i in range(ANGLES):
        angle = math.pi * i / ANGLES
        at = (rows * math.sin(angle) + columns * math.cos(angle)).round().long().flatten()
        at = (at - at.min()).expand(len(x), -1)
        votes = torch.zeros(len(x), int(at.max()) + 1, dtype=x.dtype).scatter_add_(1, at, flat)
        most = torch.maximum(most, votes.gather(1, at))
    return found * (most >= length).to(x.dtype).reshape(found.shape)


def scribble(x: Tensor, width: float, std: float = 2.0) -> Tensor:
    """The edges of a picture that is blurred by `std` pixels, drawn with a pen so many pixels wide, an odd number."""
    if width < 1 or width % 2 != 1:
        raise Refused(f"a scribble's pen is 1, 3, 5 ... pixels wide, not {width:g}")
    return F.max_pool2d(edges(x, std), int(width), stride=1, padding=int(width) // 2)


def _moved(x: Tensor, sign: int, step: tuple[int, int]) -> Tensor:
    """What stands one step further, 0 beyond the border."""
    rows, columns = (sign * part for part in step)
    padded = F.pad(x, (1, 1, 1, 1))
    height, width = x.shape[-2:]
    return padded[..., 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]
