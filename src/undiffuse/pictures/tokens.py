"""Tokens to pictures: each sequence a row of squares, each symbol a colour."""

import colorsys
import math

import numpy as np
from PIL import Image

PALE = (226, 232, 240)  # of symbol 0
GAP = 2
GOLDEN = 0.618034  # of a turn: neighbouring symbols lie far apart on the circle of colours


def are_tokens(x: np.ndarray) -> bool:
    """Whether these items are tokens, (n, length) integers; points are floats."""
    return x.ndim == 2 and x.dtype.kind in "iu"


def squares(x: np.ndarray) -> np.ndarray:
    """Tokens (n, length) as pictures of one row of pixels, (n, 3, 1, length) uint8."""
    symbols, places = np.unique(x, return_inverse=True)
    colours = np.array([_colour(int(symbol)) for symbol in symbols], np.uint8)
    return colours[places.reshape(x.shape)].transpose(0, 2, 1)[:, :, None]


def rows(x: np.ndarray) -> Image.Image:
    """Tokens (n, length) below each other, in as many columns as make the picture about square."""
    n, length = x.shape
    columns = max(1, min(n, round(math.sqrt(n / length))))
    down, scale = -(-n // columns), min(14, max(2, 400 // (columns * length)))
    sheet = np.full((down * (scale + GAP) + GAP, columns * (length * scale + GAP) + GAP, 3), 255, np.uint8)
    for i, row in enumerate(squares(x)):
        top, left = GAP + (i // columns) * (scale + GAP), GAP + (i % columns) * (length * scale + GAP)
        sheet[top : top + scale, left : left + length * scale] = row[:, 0].T.repeat(scale, 0)
    return Image.fromarray(sheet)


def _colour(symbol: int) -> tuple[int, int, int]:
    if symbol == 0:
        return PALE
    red, green, blue = colorsys.hls_to_rgb((0.04 + (symbol - 1) * GOLDEN) % 1, 0.45, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)
