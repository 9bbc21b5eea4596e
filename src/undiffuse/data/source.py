"""What every place that data come from offers: one call that brings all of them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from undiffuse.data.dataset import Dataset
from undiffuse.data.images.decode import Limits
from undiffuse.data.images.resize import Filter, Fit, Resize, Size


class Source(ABC):
    """A description of data, written in a recipe; nothing is read before `load`.

    files: the fields that may name files. suffixes: of files, or of those in a folder, that it reads in place of what
    reads such files otherwise, where a recipe names it. brings: the fields that say what becomes of an item: other data
    that a run is asked about are read with those of its own. numbered: a number in the place of a name is its text, see
    `registry`.
    """

    files: ClassVar[tuple[str, ...]] = ()
    suffixes: ClassVar[tuple[str, ...]] = ()
    brings: ClassVar[tuple[str, ...]] = ()
    numbered: ClassVar[bool] = True

    @abstractmethod
    def load(self) -> Dataset:
        """All items, in memory or mapped; raises Refused, naming the file, where the data cannot be used."""

    def peek(self) -> "Peek | None":
        """What the first of the data look like; None where they are made and not read. Raises Refused as `load`."""
        return None


@dataclass(frozen=True)
class Peek:
    """What is known of stored data without reading all of it: the shape of an item, whether it has a label, and
    whether it is tokens, whether these spell a text, whether it is a row with categories, and whether it is a sound,
    a point cloud or a video.
    """

    shape: tuple[int, ...]
    labelled: bool
    tokens: bool = False
    mixed: bool = False
    spelled: bool = False
    sound: bool = False
    cloud: bool = False
    video: bool = False


class Stored(Source):
    """Data in files, which can be looked at before they are read."""

    files: ClassVar[tuple[str, ...]] = ("path", "labels", "conditions", "tokens")

    @property
    def key(self) -> Any:
        """The same without its path: by this and by the files decoded data are cached, see `decoded_cache.place`."""
        this: Any = self
        return replace(this, path="")

    @abstractmethod
    def peek(self) -> Peek:
        """What the first of the data look like; raises Refused as `load` does."""


@dataclass(frozen=True, kw_only=True)
class Resized(Stored):
    """Stored images, whose size may change on the way in, see `Resize`. skip_broken: go on without broken items."""

    size: Size = None
    fit: Fit = "crop"
    filter: Filter = "bicubic"
    crop: int = 0
    skip_broken: bool = False

    brings: ClassVar[tuple[str, ...]] = ("size", "fit", "filter", "crop")

    @property
    def resize(self) -> Resize:
        """How images change their size."""
        return Resize(self.size, self.fit, self.filter, self.crop)


@dataclass(frozen=True, kw_only=True)
class Encoded(Resized):
    """Images in files, which are decoded on the way in. channels: 1 grey, 3 RGB, 4 RGBA; None: all must have the same.

    most_pixels, most_side: an image with more is refused by its header.
    """

    channels: int | None = None
    most_pixels: int = 50_000_000
    most_side: int = 32_768

    brings: ClassVar[tuple[str, ...]] = (*Resized.brings, "channels")

    @property
    def limits(self) -> Limits:
        """How large an image may be."""
        return Limits(self.most_pixels, self.most_side)
