"""What is inside the files that samples become: pictures, arrays, tables."""

import csv
import io
from typing import TYPE_CHECKING

from undiffuse.core.errors import Refused

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from undiffuse.drawing.draw import Drawn

NPZ = "ask for --format npz (the numbers)"


def sheet(drawn: "Drawn", columns: int | None = None) -> "Image":
    """The samples as one picture: one class a row where there are classes, else about as wide as high.

    Sequences are drawn as lines, tokens as rows of squares, of volumes the middle slice; points as a scatter plot or
    histograms.
    """
    from undiffuse.drawing.draw import by_class
    from undiffuse.pictures import as_images, grid, overview

    if drawn.x.ndim == 2:
        return overview(drawn.x, names=drawn.columns)
    images = as_images(drawn.x)
    if drawn.labels is None or len(set(drawn.labels.tolist())) < 2:
        return grid(images, columns)
    order, width = by_class(drawn.labels, len(drawn.classes))
    return grid(_placed(images, order), columns=width)


def picture(drawn: "Drawn") -> bytes:
    """The samples as one .png."""
    from undiffuse.pictures import png

    return png(sheet(drawn))


def fits_files(shape: tuple[int, ...], dtype: str) -> None:
    """Raises Refused for samples that are no image files: other shapes, or too many channels for that dtype."""
    if len(shape) != 3:
        kind = {1: "points", 2: "sequences", 4: "volumes"}.get(len(shape), "samples of this shape")
        raise Refused(f"{kind} are no pictures of their own; ask for --format grid (one picture) or {NPZ[8:]}")
    if shape[0] not in ((1, 3, 4) if dtype == "uint8" else (1,)):
        raise Refused(f"there are no image files of {shape[0]} channels of {dtype}; {NPZ}")


def files(drawn: "Drawn") -> dict[str, bytes]:
    """A file for each image, nothing lost: .png of 8 bit, or 16 bit grey, and .tif of floats."""
    import numpy as np
    from PIL import Image

    digits = max(4, len(str(len(drawn.x) - 1)))
    ending, form = (".tif", "TIFF") if drawn.x.dtype == np.float32 else (".png", "PNG")
    found = {}
    for i, image in enumerate(drawn.x):
        pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, form)
        found[f"{i:0{digits}d}{ending}"] = file.getvalue()
    return found


def arrays(drawn: "Drawn") -> bytes:
    """An .npz that can be trained on: images channels last, all else as it is, and labels."""
    import numpy as np

    x = drawn.x[:, 0] if drawn.x.ndim == 4 and drawn.x.shape[1] == 1 else drawn.x
    found = {"images": np.moveaxis(x, 1, -1) if x.ndim == 4 else x} if drawn.is_image else {"x": x}
    if drawn.labels is not None:
        found |= {"labels": drawn.labels, "classes": np.array(drawn.classes)}
    if drawn.columns:
        found["columns"] = np.array(drawn.columns)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, seed=np.int64(drawn.seed), **found)
    return file.getvalue()


def fits_table(shape: tuple[int, ...], dtype: str) -> None:
    """Raises Refused for samples that are no lines of numbers."""
    if len(shape) != 1:
        raise Refused(f"samples of shape {shape} are no lines of a table; {NPZ}")


def table(drawn: "Drawn") -> bytes:
    """A .csv with the data's column names, and the label's where there is one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(drawn.columns) or [f"x{i}" for i in range(drawn.x.shape[1])]
    labels = [[]] * len(drawn.x) if drawn.labels is None else [[drawn.classes[label]] for label in drawn.labels]
    writer.writerow(names if drawn.labels is None else [*names, drawn.label])
    for row, label in zip(drawn.x, labels, strict=True):
        writer.writerow([*(f"{value:.9g}" for value in row), *label])  # nine digits are all that a float32 has
    return text.getvalue().encode()


def text(x: "np.ndarray", most: int = 10) -> str:
    """The first token sequences, one a line: digits next to each other where every symbol is one."""
    between = "" if int(x.max()) < 10 else " "
    return "\n".join(between.join(map(str, row)) for row in x[:most].reshape(min(most, len(x)), -1).tolist())


def strip(drawn: "Drawn") -> bytes:
    """The way from noise to samples as one .png."""
    from undiffuse.pictures import cloud_strip, extent_of, png
    from undiffuse.pictures import strip as side_by_side

    if drawn.are_points:
        frames = _plane(drawn.frames)
        return png(cloud_strip(frames, extent_of(frames[0], frames[-1]), paths=60))
    return png(side_by_side(_pictures(drawn)))


def gif(drawn: "Drawn") -> bytes:
    """The way from noise to samples, animated."""
    from dataclasses import replace

    from undiffuse.pictures import cloud_frames, extent_of
    from undiffuse.pictures import gif as animated

    if drawn.are_points:
        frames = _plane(drawn.frames)
        return animated(list(cloud_frames(frames, extent_of(frames[0], frames[-1]))))
    frames = drawn.frames if drawn.x.ndim == 2 else _pictures(drawn)
    return animated([sheet(replace(drawn, x=frame)) for frame in frames])


def _plane(frames: "np.ndarray") -> "np.ndarray":
    """Points in the plane of their first two numbers; single numbers on a line."""
    import numpy as np

    return frames if frames.shape[-1] > 1 else np.concatenate([frames, np.zeros_like(frames)], axis=-1)


def _pictures(drawn: "Drawn") -> "np.ndarray":
    """All states as uint8 pictures of one scale, (steps + 1, n, channels, height, width)."""
    from undiffuse.pictures import as_images, span_of

    steps, n, *shape = drawn.frames.shape
    flat = drawn.frames.reshape(steps * n, *shape)
    span = span_of(flat) if flat.dtype.kind == "f" else None
    images = as_images(flat, span)
    return images.reshape(steps, n, *images.shape[1:])


def _placed(images: "np.ndarray", order: list[int | None]) -> "np.ndarray":
    """The images in this order, white where it is None."""
    import numpy as np

    white = np.full_like(images[0], 255)
    return np.stack([white if i is None else images[i] for i in order])
