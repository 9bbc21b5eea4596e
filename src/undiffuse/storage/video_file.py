"""A moving picture as a file: a GIF, and by PyAV (the extra `av`) an mp4 and its like."""

import io
from collections.abc import Sequence
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.storage.image_file import Limits, Target, items, opened

GIF = ".gif"
MOVIES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
ENDINGS = (GIF, *MOVIES)
RATE = 10.0  # frames a second, of a file that does not say it


class Frames(NamedTuple):
    """x: (channels, frames, height, width) uint8. rate: frames a second."""

    x: np.ndarray
    rate: float


def read(path: Path, channels: int = 3) -> Frames:
    """All frames of a file, evenly in time: a frame that a GIF shows twice as long as others is there twice.

    channels: 1 grey, 3 RGB, what is clear on white. Raises Refused for a file that needs PyAV where it is missing;
    a decoder raises what it likes for what it cannot read.
    """
    return _gif(path, channels) if path.suffix.lower() == GIF else _movie(path, channels)


def gif(pictures: Sequence[Image.Image], rate: float) -> bytes:
    """The bytes of an endless GIF of these pictures; grey ones lose nothing, coloured ones have 256 colours each."""
    file = io.BytesIO()
    grey = all(each.mode == "L" for each in pictures)
    first, *rest = pictures if grey else [each.convert("P", palette=Image.Palette.ADAPTIVE) for each in pictures]
    each = max(2, round(100 / rate)) * 10  # milliseconds, of which a GIF counts tens
    first.save(file, "GIF", save_all=True, append_images=rest, duration=each, loop=0, optimize=False)
    return file.getvalue()


def mp4(pictures: Sequence[Image.Image], rate: float) -> bytes:
    """The bytes of an mp4 (H.264) of these pictures; raises Refused where PyAV is missing."""
    av, file = _av("an mp4"), io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        stream.pix_fmt = "yuv420p"  # which every player reads, and whose sides are even
        stream.width, stream.height = (side + side % 2 for side in pictures[0].size)
        for each in pictures:
            even = Image.new("RGB", (stream.width, stream.height), "white")
            even.paste(each.convert("RGB"))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(even), format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _gif(path: Path, channels: int) -> Frames:
    (frames,) = items(path, Target(channels, pages="frames"))
    times: list[int] = []
    with opened(path, Limits()) as image:
        for page in range(frames.shape[1]):
            image.seek(page)
            times.append(int(image.info.get("duration", 0)))
    shortest = min(times)
    if not shortest:
        return Frames(frames, RATE)
    return Frames(frames.repeat([round(time / shortest) for time in times], axis=1), 1000 / shortest)


def _movie(path: Path, channels: int) -> Frames:
    form = {1: "gray", 3: "rgb24"}[channels]
    with _av(path.name).open(str(path)) as container:
        frames = [frame.to_ndarray(format=form) for frame in container.decode(video=0)]
        rate = container.streams.video[0].average_rate
    x = np.stack(frames)
    return Frames(x[None] if channels == 1 else np.moveaxis(x, 3, 0), float(rate or RATE))


def _av(what: str) -> Any:
    try:
        return import_module("av")
    except ImportError as error:
        raise Refused(f"{what} needs PyAV: pip install 'undiffuse[av]'; a .gif needs nothing") from error
