"""A grid of values cut into patches, one token each, and put together again, along any number of axes."""

from torch import Tensor


def patches(x: Tensor, size: int) -> Tensor:
    """x (batch, channels, one size an axis) -> (batch, places, channels * size^axes), places in row-major order."""
    axes = x.ndim - 2
    for axis in range(axes):
        x = x.unflatten(2 + 2 * axis, (-1, size))  # (batch, channels, places, size, places, size ...)
    grid, inner = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    return x.permute(0, *grid, 1, *inner).flatten(1 + axes).flatten(1, axes)


def joined(tokens: Tensor, size: int, grid: tuple[int, ...]) -> Tensor:
    """tokens (batch, places, size^axes * channels) -> (batch, channels, one size an axis); channels are innermost."""
    axes = len(grid)
    x = tokens.unflatten(2, (*(size,) * axes, -1)).unflatten(1, grid)
    order = [axis for i in range(axes) for axis in (1 + i, 1 + axes + i)]
    x = x.permute(0, x.ndim - 1, *order)
    for axis in range(axes):
        x = x.flatten(2 + axis, 3 + axis)
    return x
