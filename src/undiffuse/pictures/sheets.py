"""Many pictures as one: grids, one class a row, pictures above their captions, strips."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from undiffuse.pictures import layout
from undiffuse.pictures.images import Array, picture, telling
from undiffuse.pictures.layout import Layout
from undiffuse.pictures.letters import INK, font


def grid(images: Array, columns: int | None = None, scale: int | None = None, gap: int | None = None) -> Image.Image:
    """Many pictures as one, row by row.

    images: (n, channels, height, width) uint8. columns: pictures in a row; None: so many that it is about square.
    scale: whole factor of enlargement; None: at least 64 pixels a side, more where there are few. gap: pixels of
    background between pictures.
    """
    return pasted(images, layout.plain(len(images), images.shape[-2:], columns, scale, gap))


def sheet(
    images: Array,
    labels: Sequence[int] | Array | None = None,
    classes: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Image.Image:
    """Many pictures as one, with what they are of.

    images: (n, channels, height, width) uint8. labels: of each picture, a place among the names of the classes: one
    class a row under its name. captions: of each picture, below it; one for all stands above them.
    """
    return pasted(images, arranged(len(images), images.shape[-2:], labels, classes, captions))


def arranged(
    n: int,
    side: tuple[int, ...],
    labels: Sequence[int] | Array | None = None,
    classes: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Layout:
    """Where `sheet` puts n pictures of side (height, width)."""
    high, wide = side
    if len(set(captions)) > 1:
        return layout.captioned(captions, (high, wide))
    known = labels is not None and len(classes) > 0
    found = layout.classed([int(i) for i in labels], classes, (high, wide)) if known else layout.plain(n, (high, wide))  # type: ignore[union-attr]
    return found.headed(captions[0]) if captions else found


def lined(images: Array, names: Sequence[str]) -> Image.Image:
    """Rows of pictures below each other, each beside its name; images: (rows, columns, channels, height, width)."""
    rows, across, *shape = images.shape
    return pasted(images.reshape(-1, *shape), layout.stripped(rows, images.shape[-2:], [""] * across, names))


def strip(frames: Array, columns: int = 10, scale: int | None = None, names: Sequence[str] = ()) -> Image.Image:
    """Pictures over time, left to right: one row a sample; the last column is the last frame.

    frames: (steps, n, channels, height, width) uint8; `columns` of them are shown, more of them where more changes,
    each under the number of its step. names: of the rows.
    """
    chosen = telling(frames, columns)
    shown = frames[chosen].swapaxes(0, 1).reshape(-1, *frames.shape[2:])
    return pasted(shown, layout.stripped(frames.shape[1], frames.shape[-2:], steps(chosen), names, scale))


def steps(chosen: Sequence[int]) -> list[str]:
    """The headings of the states of a trajectory: noise, and the numbers of steps."""
    return ["noise" if i == 0 else f"step {i}" for i in chosen]


def pasted(images: Array, places: Layout) -> Image.Image:
    """The pictures (n, channels, height, width) uint8 on white, at their places, and the words."""
    width, height = places.size
    sheet = np.full((images.shape[1], height, width), 255, np.uint8)
    for image, (left, top) in zip(images, places.tiles, strict=True):
        large = image.repeat(places.scale, 1).repeat(places.scale, 2)
        sheet[:, top : top + large.shape[1], left : left + large.shape[2]] = large
    found = picture(sheet)
    pen = ImageDraw.Draw(found)
    for left, top, text in places.words:
        pen.text((left, top), text, fill=INK, font=font(layout.LETTERS))
    return found
