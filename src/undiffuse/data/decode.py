"""Encoded images to arrays: first their headers, which refuse what would fill the memory, then their pixels."""

import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from undiffuse.core.errors import Refused
from undiffuse.data.ahead import ahead
from undiffuse.data.broken import Broken, Outcome
from undiffuse.data.resize import Resize
from undiffuse.progress import progress_bar

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
SIDEWAYS = (5, 6, 7, 8)  # values of the EXIF tag that swap height and width
ORIENTATION = 0x0112
DEPTHS = {"uint8": "", "uint16": " of 16 bit", "float32": " of float"}

Content = Path | bytes


@dataclass(frozen=True)
class Kind:
    """What the header of an image says: its size as it is shown, its channels and the dtype of a pixel."""

    width: int
    height: int
    channels: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.channels} channel{'s' * (self.channels > 1)}{DEPTHS[self.dtype]}"


@dataclass(frozen=True)
class Limits:
    """An image with more pixels, or a longer side, is refused by its header, before it is unpacked."""

    pixels: int
    side: int


@dataclass(frozen=True)
class Target:
    """What every image becomes."""

    channels: int
    dtype: str
    resize: Resize


def known_channels(channels: int | None) -> None:
    """Raises Refused for a number of channels that no image has; None: as the images are."""
    if channels is not None and channels not in MODES:
        raise Refused(f"channels = {channels}: images have 1 (grey), 3 (RGB) or 4 (RGBA)")


class Images:
    """Encoded images by name, of one set: what they are, and what they become.

    names: one an image. content: of the image with that number, a path or bytes. where: what the set is called.
    """

    def __init__(self, names: Sequence[str], content: Callable[[int], Content], where: str, limits: Limits) -> None:
        self.names, self.content, self.where, self.limits = names, content, where, limits

    def look(self, channels: int | None, resize: Resize, broken: Broken) -> tuple[list[int], Target]:
        """The images whose headers can be read, by number, and what they all become; raises Refused if they differ."""
        kinds: dict[int, Kind] = {}
        with _bombs_are_errors():
            outcomes = self._progress(ahead(self._kind, range(len(self.names))), len(self.names), "looking")
            for i, outcome in enumerate(outcomes):
                broken.keep(kinds, i, outcome, self.names[i])
        if not kinds:
            raise broken.refusal(self.where, len(self.names))
        if resize.sides is None and not resize.crop:
            self._refuse_mixed(
                {i: f"{kind.width}x{kind.height}" for i, kind in kinds.items()},
                "sizes",
                f"Give --set data.size={min(min(kind.width, kind.height) for kind in kinds.values())}, or another, to "
                "resize the shorter side and cut out the centre; --set data.fit=pad or data.fit=stretch: otherwise",
            )
        if not channels:
            self._refuse_mixed(
                {i: str(kind) for i, kind in kinds.items()},
                "channels",
                "Give --set data.channels=3 (RGB), 1 (grey) or 4 (RGBA)",
            )
        for i, kind in kinds.items():
            try:
                resize.shape(kind.height, kind.width)
            except Refused as error:
                raise Refused(f"{self.names[i]} in {self.where}: {error}") from None
        first = next(iter(kinds.values()))
        dtypes = {kind.dtype for kind in kinds.values()}
        dtype = first.dtype if dtypes == {first.dtype} and channels in (None, 1) else "uint8"
        if dtype == "uint8" and "float32" in dtypes:
            raise Refused(f"{self.where} has images of floats, which stay what they are: leave data.channels away")
        return list(kinds), Target(channels or first.channels, dtype, resize)

    def glance(self, channels: int | None, resize: Resize) -> tuple[int, ...]:
        """The shape that the first image comes to whose header can be read; raises Refused if there is none."""
        broken = Broken()
        for i, name in enumerate(self.names):
            whole: dict[int, Kind] = {}
            broken.keep(whole, i, self._kind(i), name)
            for kind in whole.values():
                return (channels or kind.channels, *resize.shape(kind.height, kind.width))
        raise broken.refusal(self.where, len(self.names))

    def decode(self, which: Sequence[int], target: Target, broken: Broken) -> Iterator[tuple[int, np.ndarray]]:
        """(number, (channels, height, width)) of each image that is whole, in order."""

        def work(i: int) -> Outcome[np.ndarray]:
            return attempt(lambda: self.pixels(i, target))

        with _bombs_are_errors():
            outcomes = self._progress(ahead(work, which), len(which), "reading")
            for i, outcome in zip(which, outcomes, strict=True):
                kept: dict[int, np.ndarray] = {}
                broken.keep(kept, i, outcome, self.names[i])
                yield from kept.items()

    def pixels(self, i: int, target: Target) -> np.ndarray:
        """(channels, height, width)"""
        with self._open(i) as image:
            shown = ImageOps.exif_transpose(image)
            if shown.mode.startswith("I;16") and target.dtype == "uint8":
                shown = Image.fromarray((np.asarray(shown) // 257).astype(np.uint8))
            if target.dtype == "uint8":
                shown = _convert(shown, MODES[target.channels])
            pixels = np.asarray(shown)
        pixels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
        return target.resize.apply(pixels.astype(target.dtype, copy=False))

    @contextmanager
    def _open(self, i: int) -> Iterator[Image.Image]:
        content = self.content(i)
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            limits = self.limits
            if image.width * image.height > limits.pixels:
                raise Refused(f"{image.width} x {image.height} pixels, more than most_pixels = {limits.pixels}")
            if max(image.size) > limits.side:
                raise Refused(f"{image.width} x {image.height} pixels, a side above most_side = {limits.side}")
            yield image

    def kind(self, i: int) -> Kind:
        """What the header of one image says."""
        with self._open(i) as image:
            width, height = image.size
            if image.getexif().get(ORIENTATION) in SIDEWAYS:
                width, height = height, width
            mode, clear = image.mode, image.has_transparency_data
        if mode == "I":
            raise Refused("pixels of 32-bit integers; 8-bit images, 16-bit grey and 32-bit floats are read")
        if mode == "F" or mode.startswith("I;16"):
            return Kind(width, height, 1, "float32" if mode == "F" else "uint16")
        return Kind(width, height, 4 if clear else 1 if mode in ("1", "L") else 3, "uint8")

    def _kind(self, i: int) -> Outcome[Kind]:
        return attempt(lambda: self.kind(i))

    def _refuse_mixed(self, words: dict[int, str], what: str, advice: str) -> None:
        counts = Counter(words.values()).most_common()
        if len(counts) == 1:
            return
        examples = {word: self.names[i] for i, word in reversed(words.items())}
        shown = [f"{word} ({count}, such as {examples[word]})" for word, count in counts[:4]]
        listed = ", ".join(shown + [f"and {len(counts) - 4} more"] * (len(counts) > 4))
        raise Refused(f"the images in {self.where} have different {what}: {listed}.\n{advice}")

    def _progress(self, outcomes: Iterable[Outcome], count: int, what: str) -> Iterable[Outcome]:
        return progress_bar(outcomes, total=count, desc=f"{what} at images", unit="image", delay=2, leave=False)


def attempt(work: Callable[[], np.ndarray | Kind]) -> Outcome:
    """What the work comes to, or what is wrong; a decoder may stumble over damaged bytes in any way."""
    try:
        return work(), ""
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return None, f"more pixels than most_pixels allows ({error})"
    except Exception as error:
        return None, str(error) or type(error).__name__


@contextmanager
def _bombs_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():  # for all threads, as long as the images are walked over
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """The image in this mode; what is transparent is laid on white unless the mode keeps it."""
    if mode != "RGBA" and image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return image.convert(mode)
