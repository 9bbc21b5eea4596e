"""What is inside the files that samples become: pictures, arrays, tables."""

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from undiffuse.core.errors import Refused
from undiffuse.storage.notes import CLOUD, SOUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from PIL.Image import Image

    from undiffuse.rendering.mesh import Mesh
    from undiffuse.sampling.samples import Samples

SAMPLE_FORMAT = 339  # the tag of a TIFF that says what its numbers are; 2: they have a sign
PAUSE = 0.25  # seconds between sounds in one file
NPZ = "ask for --format npz (the numbers)"


def sheet(drawn: "Samples", like: "Sequence[np.ndarray]" = ()) -> "Image":
    """The samples as one picture: one class a row under its name where there are classes, each above its caption where
    texts were told, else about as wide as high.

    Sequences are drawn as lines, tokens as rows of squares, texts as they read, volumes as a row of slices, videos of
    frames; points as a scatter plot or histograms; point clouds from three sides. like: other samples that are drawn
    on the same axes.
    """
    from undiffuse.pictures import overview, page, views
    from undiffuse.pictures import sheet as arranged

    if drawn.texts:
        return page(drawn.texts)
    labels = None if drawn.labels is None else drawn.labels.numpy()
    if _are_clouds(drawn):
        return arranged(views(drawn.x), labels, drawn.classes, drawn.captions)
    return overview(
        drawn.x,
        names=drawn.columns,
        categories=drawn.categories,
        labels=labels,
        classes=drawn.classes,
        captions=drawn.captions,
        like=like,
    )


def _are_clouds(drawn: "Samples") -> bool:
    return CLOUD in drawn.of.facts.get("data", {})


def picture(drawn: "Samples", suffix: str = ".png") -> bytes:
    """The samples as one picture, in the format of the suffix."""
    from undiffuse.pictures import encoded

    return encoded(sheet(drawn), suffix)


def fits_files(shape: tuple[int, ...], dtype: str) -> None:
    """Raises Refused for samples that are no image files: other shapes, or too many channels for that dtype."""
    if len(shape) != 3:
        kind = {1: "points", 2: "sequences", 4: "volumes and videos"}.get(len(shape), "samples of this shape")
        raise Refused(f"{kind} are no pictures of their own; ask for --format grid (one picture) or {NPZ[8:]}")
    if shape[0] not in ((1, 3, 4) if dtype == "uint8" else (1,)):
        raise Refused(f"there are no image files of {shape[0]} channels of {dtype}; {NPZ}")


def files(drawn: "Samples") -> dict[str, bytes]:
    """A file for each image, nothing lost: .png of 8 bit, or 16 bit grey, and .tif of floats and of signed 16 bit."""
    import numpy as np
    from PIL import Image

    digits = max(4, len(str(len(drawn.x) - 1)))
    signed = drawn.x.dtype == np.int16
    ending, form = (".tif", "TIFF") if signed or drawn.x.dtype == np.float32 else (".png", "PNG")
    tags = {"tiffinfo": {SAMPLE_FORMAT: 2}} if signed else {}  # Pillow writes 16 bit without a sign, and the tag
    found = {}
    for i, image in enumerate(drawn.x):
        pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
        file = io.BytesIO()
        Image.fromarray(pixels.view(np.uint16) if signed else pixels).save(file, form, **tags)
        found[f"{i:0{digits}d}{ending}"] = file.getvalue()
    return found


def array(drawn: "Samples") -> bytes:
    """An .npy of the samples alone, which can be trained on: images and videos channels last, point clouds (n, points,
    3) with NaN for points that a cloud does not have, all else as it is.
    """
    import numpy as np

    from undiffuse.conditions.point_count import own_points

    file = io.BytesIO()
    x = _channels_last(drawn)
    if _are_clouds(drawn):
        x = np.where(own_points(drawn.x)[..., None], drawn.x.swapaxes(1, 2), np.float32(np.nan))
    np.save(file, x, allow_pickle=False)
    return file.getvalue()


def arrays(drawn: "Samples") -> bytes:
    """An .npz that can be trained on: images channels last, all else as it is, and labels; latents say so."""
    import numpy as np

    from undiffuse.sampling.made_by import LATENTS, MadeBy

    made = MadeBy.of(drawn.of.facts.get("data", {}))
    found = {"images" if drawn.ndim == 4 else "x": _channels_last(drawn)}
    if made is not None:
        found = {LATENTS: drawn.x, **made.arrays()}
    if drawn.labels is not None:
        found |= {"labels": drawn.labels.numpy(), "classes": np.array(drawn.classes)}
    if drawn.columns:
        found["columns"] = np.array(drawn.columns)
    named = zip(drawn.columns, drawn.categories, strict=True) if drawn.categories else ()
    found |= {f"categories_{column}": np.array(names) for column, names in named if names}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, seed=np.asarray(drawn.request.seed if drawn.request else 0), **found)
    return file.getvalue()


def fits_sounds(shape: tuple[int, ...], dtype: str) -> None:
    """Raises Refused for samples that are no sounds: other shapes, and too many channels."""
    if len(shape) != 2 or shape[0] > 2 or dtype not in ("float32", "float64"):
        raise Refused(f"samples of shape {shape} of {dtype} are no sounds of one or two channels; {NPZ}")


def sound(drawn: "Samples") -> bytes:
    """A .wav of 16 bits of all sounds, one behind the other, at the data's rate."""
    import numpy as np

    from undiffuse.storage.sound_file import written

    rate = _rate(drawn)
    pause = np.zeros((drawn.x.shape[1], round(PAUSE * rate)), np.float32)
    first, *rest = drawn.x
    return written(np.concatenate([first, *(each for x in rest for each in (pause, x))], axis=1), rate)


def sounds(drawn: "Samples") -> dict[str, bytes]:
    """A .wav for each sound."""
    from undiffuse.storage.sound_file import written

    digits, rate = max(4, len(str(len(drawn.x) - 1))), _rate(drawn)
    return {f"{i:0{digits}d}.wav": written(x, rate) for i, x in enumerate(drawn.x)}


def _rate(drawn: "Samples") -> int:
    rate = drawn.of.facts.get("data", {}).get(SOUND, {}).get("rate")
    if not rate:
        raise Refused(f"the run's data are no sounds: how many samples a second they have is not known; {NPZ}")
    return int(rate)


def fits_table(shape: tuple[int, ...], dtype: str) -> None:
    """Raises Refused for samples that are no lines of numbers."""
    if len(shape) != 1:
        raise Refused(f"samples of shape {shape} are no lines of a table; {NPZ}")


def table(drawn: "Samples") -> bytes:
    """A .csv with the data's columns in their order and kind, and the label's where there is one."""
    from undiffuse.sampling.data_frame import cells, frame

    found = cells(drawn.of, frame(drawn.of, drawn.x, drawn.names))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(found.columns)
    writer.writerows(found.iter_rows())
    return text.getvalue().encode()


def lines(drawn: "Samples") -> bytes:
    """The texts, one a line; what breaks a line inside one is a space."""
    return "".join(" ".join(text.split("\n")) + "\n" for text in drawn.texts).encode()


def objects(drawn: "Samples") -> bytes:
    """The texts as they are, one object {"text": ...} a line, with the label where there is one."""
    label = str(drawn.of.recipe["data"].get("label") or "label")
    labels = [{}] * len(drawn) if drawn.names is None else [{label: name} for name in drawn.names]
    pairs = zip(drawn.texts, labels, strict=True)
    return "".join(json.dumps({"text": text, **label}, ensure_ascii=False) + "\n" for text, label in pairs).encode()


def text(drawn: "Samples", most: int = 10) -> str:
    """The first texts, or token sequences, one a line: digits next to each other where every symbol is one."""
    if drawn.texts:
        return "\n".join(drawn.texts[:most])
    x = drawn.x
    between = "" if int(x.max()) < 10 else " "
    return "\n".join(between.join(map(str, row)) for row in x[:most].reshape(min(most, len(x)), -1).tolist())


def way(drawn: "Samples") -> "Image":
    """The way from noise to samples, left to right; of texts downwards."""
    from undiffuse.pictures import page, points_strip
    from undiffuse.pictures import strip as side_by_side

    if drawn.are_points:
        return points_strip(_frames(drawn), drawn.columns, drawn.categories)
    if drawn.kind == "texts":
        read = states(drawn)
        return page([text for _, text in read], [head for head, _ in read])
    captions = drawn.captions * len(drawn) if len(drawn.captions) == 1 else drawn.captions
    return side_by_side(_pictures(drawn), names=drawn.names or captions)


def strip(drawn: "Samples", suffix: str = ".png") -> bytes:
    """The way from noise to samples as one picture, in the format of the suffix."""
    from undiffuse.pictures import encoded

    return encoded(way(drawn), suffix)


def states(drawn: "Samples", samples: int = 2, most: int = 9) -> list[tuple[str, str]]:
    """The way of the first texts from noise, in at most so many states each: the number of steps, and how it reads."""
    codec: Any = drawn.of.codec
    frames = _frames(drawn)
    last = len(frames) - 1
    steps = sorted({round(i * last / (most - 1)) for i in range(most)})
    return [(str(i), codec.text_of(frames[i][k])) for k in range(min(samples, len(drawn))) for i in steps]


def gif(drawn: "Samples") -> bytes:
    """The way from noise to samples, animated."""
    import torch

    from undiffuse.pictures import gif as animated
    from undiffuse.pictures import points_frames

    if drawn.are_points:
        return animated(list(points_frames(_frames(drawn), drawn.columns, drawn.categories)))
    frames = _frames(drawn) if drawn.ndim == 2 else _pictures(drawn)
    about = (drawn.of, drawn.labels, drawn.classes, drawn.captions)
    return animated([sheet(type(drawn).made(torch.from_numpy(frame), *about)) for frame in frames])


def surface(drawn: "Samples") -> "Mesh":
    """The mesh of a scene; of a cloud its points, without faces."""
    import numpy as np

    from undiffuse.conditions.point_count import own_points
    from undiffuse.rendering.mesh import Mesh

    if drawn.mesh is not None:
        return drawn.mesh
    points = drawn.x[0][:, own_points(drawn.x[:1])[0]]
    return Mesh(points.T.astype(np.float32), np.zeros((0, 3), np.int64))


def _frames(drawn: "Samples") -> "np.ndarray":
    assert drawn.frames is not None, "a way from noise has frames"
    return drawn.frames


def _pictures(drawn: "Samples") -> "np.ndarray":
    """All states as uint8 pictures of one scale, (steps + 1, n, channels, height, width)."""
    from undiffuse.pictures import as_images, span_of

    frames = _frames(drawn)
    steps, n, *shape = frames.shape
    flat = frames.reshape(steps * n, *shape)
    span = None if flat.ndim == 2 else span_of(flat)  # tokens have none
    images = as_images(flat, span)
    return images.reshape(steps, n, *images.shape[1:])


def _channels_last(drawn: "Samples") -> "np.ndarray":
    """Images (n, height, width, channels) and videos (n, frames, height, width, channels), grey ones without channels;
    all else as it is.
    """
    import numpy as np

    x = drawn.x
    if drawn.kind not in ("images", "videos"):
        return x
    return x[:, 0] if x.shape[1] == 1 else np.moveaxis(x, 1, -1)
