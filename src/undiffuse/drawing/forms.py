"""The files that samples can become."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from undiffuse.core.errors import Refused
from undiffuse.drawing import places

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from undiffuse.drawing.draw import Drawn

POINTS = 1000  # fewer show no shape


class Form(StrEnum):
    """Samples as one picture, as a folder of pictures, as arrays."""

    GRID = "grid"
    PNG = "png"
    NPZ = "npz"


class Film(StrEnum):
    """The way to the samples as one picture, or animated."""

    STRIP = "strip"
    GIF = "gif"


@dataclass(frozen=True)
class Writer:
    """How one form is written.

    name: of the file (with a suffix) or the folder (without), where none is asked for. usual: how many samples, where
    it is not said. images, points: make the file's bytes; a folder's many files come by name. moves: it needs the
    states on the way.
    """

    name: str
    usual: int
    images: "Callable[[Drawn], bytes | dict[str, bytes]]"
    points: "Callable[[Drawn], bytes]"
    moves: bool = False

    def place(self, asked: Path | None, home: Path) -> Path:
        """Where it will be written; raises Refused now rather than after the work."""
        return (places.file if Path(self.name).suffix else places.folder)(asked, home, self.name)

    def count(self, images: bool) -> int:
        """How many samples, where it is not said."""
        return self.usual if images else POINTS

    def write(self, drawn: "Drawn", target: Path) -> None:
        """Write the samples, each file whole or not at all."""
        from undiffuse.pictures import write

        content = self.images(drawn) if drawn.is_image else self.points(drawn)
        files = (
            {target / name: data for name, data in content.items()} if isinstance(content, dict) else {target: content}
        )
        for path, data in files.items():
            write(path, data)


def choose(form: Form | None, film: Film | None, out: Path | None) -> Writer:
    """The writer that is asked for, by name or by the suffix of `out`; raises Refused for a form and a film at once."""
    if film and form:
        raise Refused(f"--trajectory {film} and --format {form} are different files; ask for one of them")
    if film:
        return FILMS[film]
    suffix = out.suffix.lower() if out else ""
    return FORMS[form or (Form.NPZ if suffix == ".npz" else Form.GRID)]


def sheet(drawn: "Drawn", columns: int | None = None) -> "Image":
    """The images as one picture: one class a row where there are classes, else about as wide as high."""
    from undiffuse.drawing.draw import by_class
    from undiffuse.pictures import grid, to_uint8

    images = to_uint8(drawn.x)
    if drawn.labels is None or len(set(drawn.labels.tolist())) < 2:
        return grid(images, columns)
    order, width = by_class(drawn.labels, len(drawn.classes))
    return grid(_placed(images, order), columns=width)


def _placed(images: "np.ndarray", order: list[int | None]) -> "np.ndarray":
    """The images in this order, white where it is None."""
    import numpy as np

    white = np.full_like(images[0], 255)
    return np.stack([white if i is None else images[i] for i in order])


def _grid(drawn: "Drawn") -> bytes:
    from undiffuse.pictures import png

    return png(sheet(drawn))


def _scatter(drawn: "Drawn") -> bytes:
    from undiffuse.pictures import png, scatter

    return png(scatter(drawn.x))


def _files(drawn: "Drawn") -> dict[str, bytes]:
    from undiffuse.pictures import picture, png, to_uint8

    digits = max(4, len(str(len(drawn.x) - 1)))
    return {f"{i:0{digits}d}.png": png(picture(image)) for i, image in enumerate(to_uint8(drawn.x))}


def _no_files(drawn: "Drawn") -> bytes:
    raise Refused(
        "points are no pictures of their own; ask for --format grid (a scatter plot) or --format npz (the numbers)"
    )


def _arrays(drawn: "Drawn") -> bytes:
    import numpy as np

    images = drawn.x[:, 0] if drawn.is_image and drawn.x.shape[1] == 1 else drawn.x
    content = (
        {"images": np.moveaxis(images, 1, -1) if images.ndim == 4 else images} if drawn.is_image else {"x": drawn.x}
    )
    if drawn.labels is not None:
        content |= {"labels": drawn.labels, "classes": np.array(drawn.classes)}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, seed=np.int64(drawn.seed), **content)
    return file.getvalue()


def _strip(drawn: "Drawn") -> bytes:
    from undiffuse.pictures import png, strip, to_uint8

    return png(strip(to_uint8(drawn.frames)))


def _cloud_strip(drawn: "Drawn") -> bytes:
    from undiffuse.pictures import cloud_strip, extent_of, png

    return png(cloud_strip(drawn.frames, extent_of(drawn.frames[0], drawn.x), paths=60))


def _gif(drawn: "Drawn") -> bytes:
    from dataclasses import replace

    from undiffuse.pictures import gif

    return gif([sheet(replace(drawn, x=frame)) for frame in drawn.frames])


def _cloud_gif(drawn: "Drawn") -> bytes:
    from undiffuse.pictures import cloud_frames, extent_of, gif

    return gif(list(cloud_frames(drawn.frames, extent_of(drawn.frames[0], drawn.x))))


FORMS = {
    Form.GRID: Writer("samples.png", 100, _grid, _scatter),
    Form.PNG: Writer("samples", 100, _files, _no_files),
    Form.NPZ: Writer("samples.npz", 100, _arrays, _arrays),
}
FILMS = {
    Film.STRIP: Writer("trajectory.png", 10, _strip, _cloud_strip, moves=True),
    Film.GIF: Writer("trajectory.gif", 100, _gif, _cloud_gif, moves=True),
}
