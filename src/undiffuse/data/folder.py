"""Your own images: a folder of them, where subfolders are classes."""

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.source import Source

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
SIDEWAYS = (5, 6, 7, 8)  # values of the EXIF tag that swap height and width
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Kind:
    """What the header of an image file says: its size as it is shown, its channels and the dtype of a pixel."""

    width: int
    height: int
    channels: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.channels} channel{'s' * (self.channels > 1)}{' of 16 bit' * (self.dtype == 'uint16')}"


@dataclass(frozen=True)
class Folder(Source):
    """All png, jpg, jpeg, webp, bmp, gif and tif images below a folder, sorted by path; hidden files are left out.

    path: if the images lie in subfolders, the first level's names are the classes, sorted; else there are no labels.
    size: resize the shorter side to this (antialiased) and cut out the centre; None: all images must have one size.
    channels: 1 grey, 3 RGB (transparent pixels on white), 4 RGBA; None: all images must have the same.
    most_pixels: an image with more is refused before it is unpacked, so that a small file cannot fill the memory.
    Cameras' orientation tags are followed; of moving pictures the first frame is taken; 16-bit grey stays uint16 if
    every image is 16-bit and channels is None.
    """

    path: str
    size: int | None = None
    channels: int | None = None
    most_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise Refused(f"size = {self.size}: the side of an image has at least 1 pixel")
        if self.channels is not None and self.channels not in MODES:
            raise Refused(f"channels = {self.channels}: images have 1 (grey), 3 (RGB) or 4 (RGBA)")

    def load(self) -> Dataset:
        """All images, decoded; raises Refused, naming the file, for whatever makes one unusable."""
        files = self._files()
        kinds = {file: self._kind(file) for file in _progress(files, "looking")}
        self._refuse_mixed(kinds)
        first = kinds[files[0]]
        height, width = (self.size, self.size) if self.size else (first.height, first.width)
        channels, dtype = (self.channels, "uint8") if self.channels else (first.channels, first.dtype)
        x = np.empty((len(files), channels, height, width), dtype)
        for row, file in zip(x, _progress(files, "reading"), strict=True):
            row[...] = self._pixels(file, MODES[channels], dtype)
        conditions, classes = self._labels(files)
        return Dataset(x, conditions, classes, Path(self.path).resolve().name)

    def _files(self) -> list[PurePosixPath]:
        """The image files below the folder, relative to it, in an order that no file system changes."""
        root = Path(self.path)
        if not root.is_dir():
            raise Refused(
                f"there is no folder {self.path}" + (" (a file: use data.name=file)" if root.is_file() else "")
            )
        everything = [
            PurePosixPath(Path(folder, name).relative_to(root).as_posix())
            for folder, _, names in os.walk(root)
            for name in names
        ]
        visible = [f for f in everything if not any(part.startswith((".", "__MACOSX")) for part in f.parts)]
        files = sorted(f for f in visible if f.suffix.lower() in ENDINGS)
        if not visible:
            raise Refused(f"the folder {self.path} is empty")
        if not files:
            raise Refused(
                f"no images in {self.path}: {len(visible)} files, such as {min(visible)}; read are {' '.join(ENDINGS)}"
            )
        return files

    def _labels(self, files: list[PurePosixPath]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """The class of each file from its first folder."""
        loose = [file for file in files if len(file.parts) == 1]
        if len(loose) == len(files):
            return {}, ()
        if loose:
            raise Refused(
                f"{self.path} has images both loose ({loose[0]}) and in subfolders "
                f"({max(files, key=lambda f: len(f.parts))}); move all into subfolders, one a class, or none"
            )
        classes = tuple(sorted({file.parts[0] for file in files}))
        return {"label": np.array([classes.index(file.parts[0]) for file in files], np.int64)}, classes

    def _refuse_mixed(self, kinds: dict[PurePosixPath, Kind]) -> None:
        if not self.size and len({(kind.width, kind.height) for kind in kinds.values()}) > 1:
            sizes = _tally({file: f"{kind.width}x{kind.height}" for file, kind in kinds.items()})
            raise Refused(
                f"the images in {self.path} have different sizes: {sizes}.\n"
                "Give size= to resize the shorter side and cut out the centre"
            )
        if not self.channels and len({str(kind) for kind in kinds.values()}) > 1:
            modes = _tally({file: str(kind) for file, kind in kinds.items()})
            raise Refused(
                f"the images in {self.path} have different channels: {modes}.\n"
                "Give channels= 1 (grey), 3 (RGB) or 4 (RGBA)"
            )

    @contextmanager
    def _open(self, file: PurePosixPath) -> Iterator[Image.Image]:
        """The image file; whatever goes wrong with it is refused by its name."""
        path = Path(self.path, file)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    if image.width * image.height > self.most_pixels:
                        raise Refused(
                            f"{path} has {image.width} x {image.height} pixels, "
                            f"more than most_pixels = {self.most_pixels}"
                        )
                    yield image
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise Refused(f"{path} has more pixels than most_pixels = {self.most_pixels} ({error})") from None
        except Refused:
            raise
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise Refused(f"{path} is broken or not an image ({error})") from None

    def _kind(self, file: PurePosixPath) -> Kind:
        with self._open(file) as image:
            width, height = image.size
            if image.getexif().get(ORIENTATION) in SIDEWAYS:
                width, height = height, width
            mode, clear = image.mode, image.has_transparency_data
        if mode == "F" or mode == "I":
            raise Refused(
                f"{Path(self.path, file)} has pixels of mode {mode}; 8-bit images and 16-bit grey are read: "
                "store it in an .npy"
            )
        if mode.startswith("I;16"):
            return Kind(width, height, 1, "uint16")
        return Kind(width, height, 4 if clear else 1 if mode in ("1", "L") else 3, "uint8")

    def _pixels(self, file: PurePosixPath, mode: str, dtype: str) -> np.ndarray:
        """(channels, height, width)"""
        with self._open(file) as image:
            shown = ImageOps.exif_transpose(image)
            if shown.mode.startswith("I;16"):
                levels = np.asarray(shown)
                shown = Image.fromarray(levels if dtype == "uint16" else (levels // 257).astype(np.uint8))
            if dtype == "uint8":
                shown = _convert(shown, mode)
            if self.size:
                shown = _square(shown, self.size)
            pixels = np.asarray(shown)
        return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """The image in this mode; what is transparent is laid on white unless the mode keeps it."""
    if mode != "RGBA" and image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return image.convert(mode)


def _square(image: Image.Image, size: int) -> Image.Image:
    """The largest centred square, resized to (size, size) through an antialiasing filter."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def _tally(words: dict[PurePosixPath, str]) -> str:
    """The commonest words, each with its count and an example: "8x8 (10, such as a.png), 9x9 (1, such as b.png)"."""
    counts = Counter(words.values()).most_common()
    examples = {word: file for file, word in reversed(words.items())}
    shown = [f"{word} ({count}, such as {examples[word]})" for word, count in counts[:4]]
    return ", ".join(shown + [f"and {len(counts) - 4} more"] * (len(counts) > 4))


def _progress(files: list[PurePosixPath], what: str) -> Iterator[PurePosixPath]:
    """The files, with a bar where going through them takes more than two seconds."""
    return iter(tqdm(files, desc=f"{what} at images", unit="image", delay=2, leave=False))
