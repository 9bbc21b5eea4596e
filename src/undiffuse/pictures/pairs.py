"""Items above what became of them, on one picture."""

import numpy as np
from PIL import Image

from undiffuse.pictures.images import Array, as_images
from undiffuse.pictures.overview import shared_span
from undiffuse.pictures.sheets import lined

NAMES = ("data", "decoded", "difference")


def pairs(x: Array, made: Array, columns: int, difference: bool = False) -> Image.Image:
    """Rows of items (n, channels, ...), each above the row of what was made of them, (n, channels, ...), on one scale.

    columns: at most so many in a row; those that do not fill a last row are left out. difference: a third row, how far
    apart the two pictures are, black where not at all.
    """
    columns = min(columns, len(x))
    rows = len(x) // columns
    span = shared_span([x, made])
    above, below = (as_images(part[: rows * columns], span) for part in (x, made))
    apart = [np.abs(above.astype(np.int16) - below).astype(np.uint8)] if difference else []
    turns = [part.reshape(rows, columns, *part.shape[1:]) for part in (above, below, *apart)]
    shown = np.stack([turn[row] for row in range(rows) for turn in turns])
    return lined(shown, NAMES[: len(turns)] * rows)
