"""Equivariance error: whether mirrored, turned or smaller latents decode to images changed alike."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from undiffuse.core.errors import Refused

Change = Callable[[Tensor], Tensor]


def _flip(x: Tensor) -> Tensor:
    return x.flip(-1)


def _turn(x: Tensor) -> Tensor:
    return x.rot90(1, (-2, -1))


def _half(x: Tensor) -> Tensor:
    return avg_pool2d(x, 2)


CHANGES: dict[str, Change] = {"flip": _flip, "turn": _turn, "half": _half}


def equivariance(x: np.ndarray, z: Tensor, decode: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """||D(T z) - T x|| / ||D(z) - x|| over all items, for each change T that the latents' sides allow: mirrored, turned
    by 90 degrees, at half the size; 1 is as good as without T. One that D refuses is left out.

    x: images (count, channels, height, width); z: their latents (count, channels, height', width'); decode: D, in the
    data's units. Source: arXiv:2502.09509, which trains for D(T z) = T x.
    """
    images = _number(x)
    plain = _distance(_number(decode(z)), images)
    found: dict[str, float] = {}
    for name, change in CHANGES.items():
        if plain > 0 and _fits(name, x.shape[2:], z.shape[2:]):
            with suppress(Refused):  # a decoder of one size alone
                found[name] = _distance(_number(decode(change(z))), change(images)) / plain
    return found


def _fits(name: str, *sides: tuple[int, ...]) -> bool:
    if name == "half":
        return all(side % 2 == 0 and side >= 8 for side in sides[1]) and all(side % 2 == 0 for side in sides[0])
    return name == "flip" or all(high == wide for high, wide in sides)


def _distance(x: Tensor, y: Tensor) -> float:
    return float((x - y).square().sum().sqrt())


def _number(x: np.ndarray | Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(x.cpu() if isinstance(x, Tensor) else x)).double()
