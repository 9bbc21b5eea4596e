"""Point clouds as pictures: each from three sides."""

import numpy as np

SIDE, GAP = 56, 4  # pixels
SIDES = ((0, 1), (0, 2), (1, 2))  # the axes across and up of each view


def views(x: np.ndarray) -> np.ndarray:
    """Clouds (n, 3, points) as uint8 pictures (n, 1, height, width), all on one scale: from above, from the front and
    from the side.
    """
    reach = float(np.abs(x).max(initial=1e-6))
    places = np.clip((x / reach + 1) / 2 * (SIDE - 1), 0, SIDE - 1).round().astype(int)
    found = np.full((len(x), 1, SIDE, 3 * SIDE + 2 * GAP), 255, np.uint8)
    item = np.arange(len(x))[:, None]
    for i, (across, up) in enumerate(SIDES):
        found[:, :, :, i * (SIDE + GAP) : i * (SIDE + GAP) + SIDE] = 241
        for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):  # a dot of 2 x 2 pixels
            column = np.minimum(places[:, across] + right, SIDE - 1) + i * (SIDE + GAP)
            row = np.clip(SIDE - 1 - places[:, up] + down, 0, SIDE - 1)
            found[item, 0, row, column] = 40
    return found
