"""What is inside the files that samples become: pictures, arrays, tables."""

import csv
import io
import json
from typing import TYPE_CHECKING

from undiffuse.core.errors import Refused

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from undiffuse.drawing.draw import Drawn

NPZ = "ask for --format npz (the numbers)"


def sheet(drawn: "Drawn", columns: int | None = None) -> "Image":
    """The samples as one picture: one class a row where there are classes, else about as wide as high.

    Sequences are drawn as lines, tokens as rows of squares, texts as they read, of volumes the middle slice; points as
    a scatter plot or histograms.
    """
    from undiffuse.drawing.draw import by_class
    from undiffuse.pictures import as_images, grid, overview, page

    if drawn.texts:
        return page(drawn.texts)
    if drawn.x.ndim == 2:
        return overview(drawn.x, names=drawn.columns, categories=drawn.categories)
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
    named = zip(drawn.columns, drawn.categories, strict=True) if drawn.categories else ()
    found |= {f"categories_{column}": np.array(names) for column, names in named if names}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, seed=np.int64(drawn.seed), **found)
    return file.getvalue()


def fits_table(shape: tuple[int, ...], dtype: str) -> None:
    """Raises Refused for samples that are no lines of numbers."""
    if len(shape) != 1:
        raise Refused(f"samples of shape {shape} are no lines of a table; {NPZ}")


def table(drawn: "Drawn") -> bytes:
    """A .csv with the data's columns in their order and kind, and the label's where there is one."""
    from undiffuse.model.frame import cells, frame

    assert drawn.model is not None, "rows are a model's"
    labels = None if drawn.labels is None else [drawn.classes[label] for label in drawn.labels]
    found = cells(drawn.model, frame(drawn.model, drawn.x, labels))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(found.columns)
    writer.writerows(found.iter_rows())
    return text.getvalue().encode()


def lines(drawn: "Drawn") -> bytes:
    """The texts, one a line; what breaks a line inside one is a space."""
    return "".join(" ".join(text.split("\n")) + "\n" for text in drawn.texts).encode()


def objects(drawn: "Drawn") -> bytes:
    """The texts as they are, one object {"text": ...} a line, with the label where there is one."""
    labels = [{}] * len(drawn.x) if drawn.labels is None else [{drawn.label: drawn.classes[i]} for i in drawn.labels]
    pairs = zip(drawn.texts, labels, strict=True)
    return "".join(json.dumps({"text": text, **label}, ensure_ascii=False) + "\n" for text, label in pairs).encode()


def text(drawn: "Drawn", most: int = 10) -> str:
    """The first texts, or token sequences, one a line: digits next to each other where every symbol is one."""
    if drawn.texts:
        return "\n".join(drawn.texts[:most])
    x = drawn.x
    between = "" if int(x.max()) < 10 else " "
    return "\n".join(between.join(map(str, row)) for row in x[:most].reshape(min(most, len(x)), -1).tolist())


def strip(drawn: "Drawn") -> bytes:
    """The way from noise to samples as one .png."""
    from undiffuse.pictures import cloud_strip, extent_of, page, png
    from undiffuse.pictures import strip as side_by_side

    if drawn.are_points:
        frames = _plane(drawn.frames)
        return png(cloud_strip(frames, extent_of(frames[0], frames[-1]), paths=60))
    if drawn.read is not None:
        told = states(drawn)
        return png(page([text for _, text in told], [head for head, _ in told]))
    return png(side_by_side(_pictures(drawn)))


def states(drawn: "Drawn", samples: int = 2, most: int = 9) -> list[tuple[str, str]]:
    """The way of the first texts from noise, in at most so many states each: the number of steps, and how it reads."""
    assert drawn.read is not None, "only texts are read"
    last = len(drawn.frames) - 1
    steps = sorted({round(i * last / (most - 1)) for i in range(most)})
    return [(str(i), drawn.read(drawn.frames[i][k])) for k in range(min(samples, len(drawn.x))) for i in steps]


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
