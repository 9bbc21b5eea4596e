"""Images that are made of the items themselves: a picture made small, grey or coarse, its edges, or with a hole."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.condition_kind import Derive
from undiffuse.conditions.edge_maps import edges, lines, scribble, soft_edges
from undiffuse.core.errors import Refused, unknown
from undiffuse.operators.blur import Blur
from undiffuse.operators.grey import Grey
from undiffuse.operators.pool import Pool
from undiffuse.progress import progress_bar

DRAWINGS = ("edges", "soft_edges", "lines", "scribble")  # take long, and do not depend on an item's place
DRAWN = 1  # counts up when the same words draw otherwise
BLOCK = 2**24  # numbers of pictures that are made into conditions at once
Make = Callable[[Tensor, np.ndarray], Tensor]  # pictures (k, channels, height, width) and which they are -> (k, ...)


def maker(of: str, name: str) -> Derive:
    """What makes the condition of this name of pictures (count, channels, height, width), or of each frame of videos
    (count, channels, frames, height, width), and their white.

    of: superresolve:FACTOR, blur:STD, grey, layout:FACTOR:LEVELS (blocks, with so many grey levels from the darkest to
    the brightest), hole:SIDE (a square of the item's own place and one channel more, which is 0 in it), or a drawing,
    see `edge_maps`: edges:STD, soft_edges:STD, lines:LENGTH, scribble:WIDTH.
    Raises Refused for another word, and for numbers that do not fit.
    """
    kind, *words = of.split(":")
    if kind not in MAKERS:
        raise unknown(f"conditions.{name}.of", kind, MAKERS)
    make, usage = MAKERS[kind]
    try:
        return partial(_made, make(*map(float, words)), name)
    except (TypeError, ValueError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"conditions.{name}.of = {of!r}: write {usage}") from None


def stamp(of: str) -> str:
    """What tells such a drawing from any other, see `ConditionKind.stamp`; "" for what is quick to make."""
    return f"drawing {DRAWN} {of}" if of.partition(":")[0] in DRAWINGS else ""


def _made(make: Make, name: str, x: Any, white: float, missing: Any = None) -> np.ndarray:
    """In the pictures' dtype and units, in memory."""
    parts: list[np.ndarray] = []
    block = max(1, BLOCK // math.prod(x.shape[1:]))
    for start in progress_bar(range(0, len(x), block), desc=f"making {name}", unit="block", delay=2, leave=False):
        which = np.arange(start, min(start + block, len(x)))
        part = _of_each(make, torch.from_numpy(x[which].astype(np.float32)) / white, which).numpy() * white
        parts.append((part.round() if x.dtype.kind in "iu" else part).astype(x.dtype))
    return np.concatenate(parts)


def _of_each(make: Make, x: Tensor, which: np.ndarray) -> Tensor:
    """What is made of pictures, or of each frame of videos (k, channels, frames, height, width)."""
    if x.ndim == 4:
        return make(x, which)
    frames = make(x.transpose(1, 2).flatten(0, 1), which.repeat(x.shape[2]))
    return frames.unflatten(0, (len(x), -1)).transpose(1, 2)


def _superresolve(factor: float) -> Make:
    pool = Pool(_whole(factor))
    return lambda x, which: pool(x)


def _blur(std: float) -> Make:
    blur = Blur(std)
    return lambda x, which: blur(x)


def _grey() -> Make:
    return lambda x, which: Grey()(x)


@dataclass(frozen=True)
class _Layout:
    """Blocks of factor x factor, each as one of `levels` grey levels."""

    factor: int
    levels: int

    def __call__(self, x: Tensor, which: np.ndarray) -> Tensor:
        steps = self.levels - 1
        return (Pool(self.factor)(Grey()(x)).clamp(0, 1) * steps).round() / steps


@dataclass(frozen=True)
class _Hole:
    """A square of `side` that is black, at a place that the picture's number fixes, and where it is not."""

    side: int

    def __call__(self, x: Tensor, which: np.ndarray) -> Tensor:
        height, width = x.shape[-2:]
        if not 0 < self.side < min(height, width):
            raise Refused(f"a hole of {self.side} does not fit pictures of {height} x {width}")
        known = torch.ones_like(x[:, :1])
        for picture, number in zip(known, which.tolist(), strict=True):
            place = np.random.Generator(np.random.Philox(key=number))
            top, left = place.integers(height - self.side + 1), place.integers(width - self.side + 1)
            picture[:, top : top + self.side, left : left + self.side] = 0
        return torch.cat([x * known, known], dim=1)


def _drawing(draw: Callable[..., Tensor], *numbers: float) -> Make:
    return lambda x, which: draw(x, *numbers)


def _layout(factor: float, levels: float) -> Make:
    if _whole(levels) < 2:
        raise Refused(f"a layout has 2 grey levels or more, not {levels:g}")
    return _Layout(_whole(factor), _whole(levels))


def _hole(side: float) -> Make:
    return _Hole(_whole(side))


def _whole(number: float) -> int:
    if number != int(number):
        raise ValueError
    return int(number)


MAKERS: dict[str, tuple[Callable[..., Make], str]] = {
    "superresolve": (_superresolve, "superresolve:FACTOR, such as superresolve:4"),
    "blur": (_blur, "blur:STD in pixels, such as blur:1.5"),
    "grey": (_grey, "grey, without a number"),
    "layout": (_layout, "layout:FACTOR:LEVELS, such as layout:4:4"),
    "hole": (_hole, "hole:SIDE in pixels, such as hole:12"),
    "edges": (lambda std=1.0: _drawing(edges, std), "edges, or edges:STD of a blur before, such as edges:1.4"),
    "soft_edges": (
        lambda std=1.0: _drawing(soft_edges, std),
        "soft_edges, or soft_edges:STD of a blur before, such as soft_edges:1.4",
    ),
    "lines": (lambda length: _drawing(lines, length), "lines:LENGTH in pixels, such as lines:12"),
    "scribble": (lambda width: _drawing(scribble, width), "scribble:WIDTH of the pen in pixels, such as scribble:3"),
}
