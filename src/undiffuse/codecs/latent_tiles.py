"""Large items go through an autoencoder in parts: a few rows at a time, and each row in overlapping tiles."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from undiffuse.core.devices import out_of_memory

MEMORY = 2**28  # bytes of activations at once
WIDTH = 2**12  # bytes of activations for each number of an item: some ten arrays of 128 channels over three colours
SHARE = 4  # one part in so many of the side of a tile overlaps with the next one
MARGIN = 4  # and one in so many of the overlap is not used at all: a cut is seen there


def in_rows(function: Callable[[slice], Tensor], count: int, numbers: int) -> Tensor:
    """What a function makes of some rows, for all `count` of them; numbers: of an item of the data.

    As many rows at once as fit a modest memory, and half as many each time memory runs out.
    """
    size, done, found = max(1, min(count, MEMORY // (WIDTH * numbers))), 0, list[Tensor]()
    while done < count or not found:
        try:
            found.append(function(slice(done, min(count, done + size))))
        except RuntimeError as error:
            if size == 1 or not out_of_memory(error):
                raise
            size = -(-size // 2)
        else:
            done += len(found[-1])
    return torch.cat(found)


def in_tiles(
    function: Callable[[tuple[slice, ...]], Tensor], sides: tuple[int, ...], tile: int, finer: tuple[int, ...]
) -> Tensor:
    """What a function makes of an array with these sides, put together from tiles of `tile` a side that overlap.

    function: called with the slices of a tile, gives (rows, channels, *sides of the tile times `finer`). Where tiles
    overlap they are mixed, each with a weight that falls to 0 before its cut: next to a cut a tile is not used, over
    `margin(tile)` places. If no output depends on inputs further away, this equals what the function makes of all.
    """
    starts = [_starts(side, tile) for side in sides]
    total = weights = torch.zeros(0, dtype=torch.float64)
    for corner in product(*starts):
        place = tuple(slice(at, min(side, at + tile)) for at, side in zip(corner, sides, strict=True))
        part = function(place)
        weight = torch.ones((1,) * part.ndim, dtype=torch.float64, device=part.device)
        for axis, (where, side, times) in enumerate(zip(place, sides, finer, strict=True)):
            ramp = _ramp(where, side, tile, times).to(part.device)
            weight = weight * ramp.reshape(-1, *(1,) * (len(sides) - 1 - axis))
        if not len(total):
            whole = tuple(side * times for side, times in zip(sides, finer, strict=True))
            total = torch.zeros((*part.shape[:2], *whole), dtype=torch.float64, device=part.device)
            weights = torch.zeros((1, 1, *whole), dtype=torch.float64, device=part.device)
        there = (..., *(slice(w.start * n, w.stop * n) for w, n in zip(place, finer, strict=True)))
        total[there] += part * weight
        weights[there] += weight
    return total / weights


def latent_tile(pixels: int, finer: tuple[int, ...]) -> int:
    """The side in latents of a tile of so many pixels a side, large enough that tiles overlap."""
    return max(pixels // max(finer), SHARE)


def margin(tile: int) -> int:
    """How many places next to a cut are not used."""
    return tile // SHARE // MARGIN


def _starts(side: int, tile: int) -> list[int]:
    """Where tiles begin: neighbours overlap by a share of them at least, and the last one ends with the side."""
    if side <= tile:
        return [0]
    stride = max(1, tile - tile // SHARE)
    return [*range(0, side - tile, stride), side - tile]


def _ramp(where: slice, side: int, tile: int, times: int) -> Tensor:
    """The weights of a tile along one axis: 1, and towards a cut down to 0 where the margin begins."""
    length = (where.stop - where.start) * times
    places = torch.arange(length, dtype=torch.float64) + 0.5
    weight = torch.ones(length, dtype=torch.float64)
    unused, overlap = margin(tile) * times, tile // SHARE * times
    rise = max(1, overlap - 2 * unused)
    if where.start > 0:
        weight = weight * ((places - unused) / rise).clamp(0, 1)
    if where.stop < side:
        weight = weight * ((length - places - unused) / rise).clamp(0, 1)
    return weight
