"""One picture as training reads it: upright, what is clear on white, in the channels and the depth that are wanted."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps

from undiffuse.core.errors import Refused

ALWAYS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".apng", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c", ".mpo", ".tga"),
    *(".qoi", ".pcx", ".sgi", ".rgb", ".rgba", ".bw", ".ras", ".ico", ".icns", ".dds", ".psd", ".xbm", ".xpm"),
    *(".fit", ".fits"),
)
PLUGINS = {  # what reads them may be missing; pip installs the last two
    "PIL._webp": (".webp",),
    "PIL._avif": (".avif", ".avifs"),
    "pillow_heif": (".heic", ".heif", ".hif"),
    "pillow_jxl": (".jxl",),
}
ENDINGS = (*ALWAYS, *(ending for plugin, endings in PLUGINS.items() if find_spec(plugin) for ending in endings))
PAGED = ("TIFF", "GIF", "WEBP", "PNG", "AVIF")  # formats whose further pictures are pages, not thumbnails or layers
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
SIDEWAYS = (5, 6, 7, 8)  # values of the EXIF tag that swap height and width
ORIENTATION, TIFF_WIDTH, TIFF_HEIGHT = 0x0112, 256, 257  # tags
DEPTHS = {"uint8": "", "uint16": " of 16 bit", "int16": " of 16 bit with a sign", "float32": " of float"}
DEEP = ("uint16", "int16")

Content = Path | bytes
Pages = Literal["first", "items", "frames"]
Span = tuple[float, float]


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image says: its size as it is shown, its channels, the dtype of a pixel, its pages."""

    width: int
    height: int
    channels: int
    dtype: str
    pages: int = 1

    def __str__(self) -> str:
        return f"{self.channels} channel{'s' * (self.channels > 1)}{DEPTHS[self.dtype]}"


@dataclass(frozen=True)
class Limits:
    """An image with more pixels, or a longer side, is refused by its header, before it is unpacked."""

    pixels: int = 50_000_000
    side: int = 32_768


@dataclass(frozen=True)
class Target:
    """What every image becomes. change: what is done to each page, (channels, height, width), in the end. span: the
    grey levels of 16 bit that become 0 and 255; None: the least and the greatest that their dtype holds. pages: which
    pages are read, and whether they are items of their own or the frames of one.
    """

    channels: int
    dtype: str = "uint8"
    change: Callable[[np.ndarray], np.ndarray] | None = None
    span: Span | None = None
    pages: Pages = "first"


def read(content: Content, target: Target, limits: Limits | None = None) -> np.ndarray:
    """The first page of an encoded picture as training reads it, (channels, height, width).

    Orientation tags are followed, what is clear is laid on white unless alpha is wanted, and 16-bit grey is scaled
    where 8 bit are wanted. Raises Refused for more pixels than the limits allow and where other dtypes cannot become
    the one that is wanted; Pillow raises what it likes for what it cannot read.
    """
    return items(content, replace(target, pages="first"), limits)[0]


def items(content: Content, target: Target, limits: Limits | None = None) -> np.ndarray:
    """All items of an encoded picture: (k, channels, height, width), k = 1 unless its pages are items; of pages that
    are frames (1, channels, pages, height, width). Raises Refused as `read` does, and for pages of different sizes.
    """
    with opened(content, limits or Limits()) as image:
        pages = range(1 if target.pages == "first" else _pages(image))
        found = [_page(image, page, target) for page in pages]
    if len({page.shape for page in found}) > 1:
        raise Refused("its pages have different sizes; give --set data.size=N")
    return np.stack(found, axis=1)[None] if target.pages == "frames" else np.stack(found)


def extremes(content: Content, limits: Limits | None = None) -> tuple[int, int]:
    """The least and the greatest number in a picture of whole numbers."""
    with opened(content, limits or Limits()) as image:
        dtype = _dtype(image)
        pixels = np.asarray(image).astype(dtype)
        return int(pixels.min()), int(pixels.max())


def kind(content: Content, limits: Limits | None = None) -> ImageHeader:
    """What the header of a picture says; raises Refused for more pixels than the limits allow and depths of no use."""
    with opened(content, limits or Limits()) as image:
        width, height = _size(image)
        dtype = _dtype(image)
        clear = dtype == "uint8" and image.has_transparency_data
        channels = 4 if clear else 1 if dtype != "uint8" or image.mode in ("1", "L") else 3
        return ImageHeader(width, height, channels, dtype, _pages(image))


@contextmanager
def opened(content: Content, limits: Limits) -> Iterator[Image.Image]:
    """The picture, not unpacked yet; raises Refused for more pixels than the limits allow."""
    _plugins()
    with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
        if image.width * image.height > limits.pixels:
            raise Refused(f"{image.width} x {image.height} pixels, more than most_pixels = {limits.pixels}")
        if max(image.size) > limits.side:
            raise Refused(f"{image.width} x {image.height} pixels, a side above most_side = {limits.side}")
        yield image


def _page(image: Image.Image, page: int, target: Target) -> np.ndarray:
    """(channels, height, width)"""
    if page:
        image.seek(page)
    dtype = _dtype(image)
    image.load()  # turns a TIFF, which must be done before its tag is looked at
    shown = ImageOps.exif_transpose(image)
    if dtype == target.dtype != "uint8":
        pixels = np.asarray(shown).astype(dtype)
    elif target.dtype != "uint8" or dtype == "float32":
        raise Refused(f"its pixels are {dtype}, and {target.dtype} is wanted")
    else:
        if dtype in DEEP:
            shown = Image.fromarray(eight_bit(np.asarray(shown).astype(dtype), target.span))
        pixels = np.asarray(_convert(shown, MODES[target.channels]))
    pixels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    return target.change(pixels) if target.change else pixels


def eight_bit(deep: np.ndarray, span: Span | None) -> np.ndarray:
    """Grey levels of 16 bit as 0 ... 255; span: those that become 0 and 255, None: the dtype's least and greatest."""
    low, high = span or (np.iinfo(deep.dtype).min, np.iinfo(deep.dtype).max)
    return ((deep.astype(np.float32) - low) * (255 / ((high - low) or 1))).round().clip(0, 255).astype(np.uint8)


def _size(image: Image.Image) -> tuple[int, int]:
    """Width and height as the picture is shown. A TIFF is asked for its tags: Pillow may have swapped its size."""
    tags: Any = getattr(image, "tag_v2", {})
    width, height = tags.get(TIFF_WIDTH, image.width), tags.get(TIFF_HEIGHT, image.height)
    turned = image.getexif().get(ORIENTATION) in SIDEWAYS
    return (height, width) if turned else (width, height)


def _dtype(image: Image.Image) -> str:
    """What a grey level is stored as; raises Refused for 32-bit integers."""
    if image.mode == "F":
        return "float32"
    if image.mode.startswith("I;16"):
        return "uint16"
    if image.mode != "I":
        return "uint8"
    stored = str(getattr(image, "tile", ""))  # how the file has them: Pillow unpacks signed ones to 32 bit
    if image.format == "PPM" or "I;16" in stored:
        return "int16" if "16S" in stored or "16BS" in stored else "uint16"
    raise Refused("pixels of 32-bit integers; 8-bit images, 16-bit grey and 32-bit floats are read")


def _pages(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1)) if image.format in PAGED else 1


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """The image in this mode; what is transparent is laid on white unless the mode keeps it."""
    if mode != "RGBA" and image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return image.convert(mode)


@cache
def _plugins() -> None:
    """Makes known to Pillow what is installed beside it."""
    for name in filter(find_spec, ("pillow_heif", "pillow_jxl")):
        getattr(import_module(name), "register_heif_opener", lambda: None)()
