"""Sets of encoded images to arrays: first their headers, which refuse what would fill the memory, then their pixels."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.data.images.ahead import ahead
from undiffuse.data.images.broken import Broken, Outcome
from undiffuse.data.images.resize import Resize
from undiffuse.progress import progress_bar
from undiffuse.storage.image_file import (
    DEEP,
    ENDINGS,
    MODES,
    Content,
    ImageHeader,
    Limits,
    Pages,
    Span,
    Target,
    extremes,
    items,
    kind,
    read,
)

__all__ = ["ENDINGS", "Content", "ImageHeader", "Images", "Limits", "Target", "attempt", "known_channels", "read"]

PAGES = {
    "first": "only the first is read; --set data.pages=items makes every page an item, --set data.pages=frames the "
    "pages of a file the frames of one item",
    "items": "every page is an item",
    "frames": "the pages of a file are the frames of one item",
}


def known_channels(channels: int | None) -> None:
    """Raises Refused for a number of channels that no image has; None: as the images are."""
    if channels is not None and channels not in MODES:
        raise Refused(f"channels = {channels}: images have 1 (grey), 3 (RGB) or 4 (RGBA)")


class Images:
    """Encoded images by name, of one set: what they are, and what they become.

    names: one an image. content: of the image with that number, a path or bytes. where: what the set is called.
    pages: which pages of those with several are read. about: what there is to say of the set, once it was looked at.
    """

    def __init__(
        self,
        names: Sequence[str],
        content: Callable[[int], Content],
        where: str,
        limits: Limits,
        pages: Pages = "first",
    ) -> None:
        self.names, self.content, self.where, self.limits = names, content, where, limits
        self.pages: Pages = pages
        self.about: dict[str, Any] = {}

    def look(self, channels: int | None, resize: Resize, broken: Broken) -> tuple[dict[int, int], Target]:
        """The images whose headers can be read, by number, each with how many items it makes, and what all become;
        raises Refused if they differ.
        """
        kinds: dict[int, ImageHeader] = {}
        with _bombs_are_errors():
            outcomes = self._progress(ahead(self._kind, range(len(self.names))), len(self.names), "looking")
            for i, outcome in enumerate(outcomes):
                broken.keep(kinds, i, outcome, self.names[i])
        if not kinds:
            raise broken.refusal(self.where, len(self.names))
        if resize.sides is None and not resize.crop:
            self._refuse_mixed(
                {i: f"{each.width}x{each.height}" for i, each in kinds.items()},
                "sizes",
                f"Give --set data.size={min(min(each.width, each.height) for each in kinds.values())}, or another, to "
                "resize the shorter side and cut out the centre; --set data.fit=pad or data.fit=stretch: otherwise",
            )
        if not channels:
            self._refuse_mixed(
                {i: str(each) for i, each in kinds.items()},
                "channels",
                "Give --set data.channels=3 (RGB), 1 (grey) or 4 (RGBA)",
            )
        for i, each in kinds.items():
            try:
                resize.shape(each.height, each.width)
            except Refused as error:
                raise Refused(f"{self.names[i]} in {self.where}: {error}") from None
        counts = self._paged({i: each.pages for i, each in kinds.items()})
        first = next(iter(kinds.values()))
        dtypes = {each.dtype for each in kinds.values()}
        dtype = first.dtype if dtypes == {first.dtype} and channels in (None, 1) else "uint8"
        if dtype == "uint8" and "float32" in dtypes:
            raise Refused(f"{self.where} has images of floats, which stay what they are: leave data.channels away")
        deep = [i for i, each in kinds.items() if each.dtype in DEEP]
        span = self._span(deep) if deep and dtype == "uint8" else None
        return counts, Target(channels or first.channels, dtype, resize.apply, span, self.pages)

    def peek(self, channels: int | None, resize: Resize) -> tuple[int, ...]:
        """The shape that the first image comes to whose header can be read; raises Refused if there is none."""
        broken = Broken()
        for i, name in enumerate(self.names):
            whole: dict[int, ImageHeader] = {}
            broken.keep(whole, i, self._kind(i), name)
            for each in whole.values():
                frames = (each.pages,) if self.pages == "frames" else ()
                return (channels or each.channels, *frames, *resize.shape(each.height, each.width))
        raise broken.refusal(self.where, len(self.names))

    def decode(self, which: Iterable[int], target: Target, broken: Broken) -> Iterator[tuple[int, np.ndarray]]:
        """(number, its items (k, channels, height, width)) of each image that is whole, in order."""
        which = list(which)

        def work(i: int) -> Outcome[np.ndarray]:
            return attempt(lambda: self.items(i, target))

        shape: tuple[int, ...] = ()
        with _bombs_are_errors():
            outcomes = self._progress(ahead(work, which), len(which), "reading")
            for i, outcome in zip(which, outcomes, strict=True):
                kept: dict[int, np.ndarray] = {}
                broken.keep(kept, i, outcome, self.names[i])
                for found in kept.values():
                    shape = shape or found.shape[1:]
                    if found.shape[1:] != shape:
                        what = f"{self.names[i]} in {self.where} comes to {found.shape[1:]}, others to {shape}"
                        raise Refused(f"{what}: give --set data.size=N (and --set data.channels=3)")
                    yield i, found

    def items(self, i: int, target: Target) -> np.ndarray:
        """The items of one image: (k, channels, height, width), k = 1 unless its pages are items."""
        return items(self.content(i), target, self.limits)

    def pixels(self, i: int, target: Target) -> np.ndarray:
        """The first page of one image, (channels, height, width)."""
        return read(self.content(i), target, self.limits)

    def kind(self, i: int) -> ImageHeader:
        """What the header of one image says."""
        found = kind(self.content(i), self.limits)
        if self.pages == "frames" and found.width * found.height * found.pages > self.limits.pixels:
            raise Refused(f"{found.pages} pages have more pixels than most_pixels = {self.limits.pixels}")
        return found

    def _kind(self, i: int) -> Outcome[ImageHeader]:
        return attempt(lambda: self.kind(i))

    def _paged(self, pages: Mapping[int, int]) -> dict[int, int]:
        """How many items each image makes; says in `about` what becomes of pages."""
        several = {i: count for i, count in pages.items() if count > 1}
        if self.pages == "frames":
            self._refuse_mixed(
                {i: str(count) for i, count in pages.items()},
                "numbers of pages",
                "Give --set data.pages=items to make every page an item, or --set data.pages=first to read the first "
                "one alone",
            )
        if several:
            counts = sorted(several.values())
            some = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
            self._say(f"{len(several):,} of {len(pages):,} files have {some} pages: {PAGES[self.pages]}")
        return dict(pages) if self.pages == "items" else dict.fromkeys(pages, 1)

    def _span(self, deep: Sequence[int]) -> Span | None:
        """The least and the greatest grey level of these images of 16 bit."""
        work = ahead(lambda i: attempt(lambda: extremes(self.content(i), self.limits)), deep)
        with _bombs_are_errors():
            ends = [found for found, _ in self._progress(work, len(deep), "measuring") if found]
        if not ends:
            return None
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        self.about["scaled"] = [low, high]
        self._say(f"16-bit grey becomes 8 bit: levels from {low} to {high} become 0 to 255")
        return low, high

    def _say(self, remark: str) -> None:
        self.about.setdefault("remarks", []).append(remark)

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


def attempt(work: Callable[[], Any]) -> Outcome:
    """The result of the work, or what went wrong; a decoder may raise any error on damaged bytes."""
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
