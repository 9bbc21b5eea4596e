"""Images from the Hugging Face hub, or from a folder that its library saved (the extra `datasets`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from undiffuse.core.errors import Refused, near
from undiffuse.data.broken import Broken
from undiffuse.data.dataset import Dataset
from undiffuse.data.decode import Content, Images, Limits, attempt, known_channels
from undiffuse.data.encoded import dataset
from undiffuse.data.labels import classify
from undiffuse.data.resize import Filter, Fit, Size
from undiffuse.data.room import Kept, find, gather, place
from undiffuse.data.source import Glance, Resized

SAVED = ("state.json", "dataset_dict.json")  # what `save_to_disk` writes
FEW = 10  # images that a glance looks at
LABELS = ("label", "labels", "class")


@dataclass(frozen=True)
class HuggingFace(Resized):
    """A data set of images by its name on the hub, or in a folder written by `save_to_disk`.

    path: the name or the folder. split: which part. image, label: the columns; left empty, the first of images and one
    called label, if there is one; label = "none": it is not read. streaming: read it once over the network into the
    cache, without a copy of the files. All else: as of `folder`. No code of a data set is run.
    """

    path: str
    split: str = "train"
    image: str = ""
    label: str = ""
    streaming: bool = False
    size: Size = None
    channels: int | None = None
    fit: Fit = "crop"
    filter: Filter = "bicubic"
    crop: int = 0
    most_pixels: int = 50_000_000
    most_side: int = 32_768
    skip_broken: bool = False

    def __post_init__(self) -> None:
        _ = self.resize
        known_channels(self.channels)

    def load(self) -> Dataset:
        """All images, decoded; raises Refused for what cannot be had, and for images that cannot be used."""
        table, image, label = self._open()
        name = Path(self.path).name
        if self.streaming:
            return self._streamed(table, image, label, name)
        images = self._images(table, image)
        labels, classes = (None, ()) if not label else _classes(table.features[label], table[label], self.path)
        there = place((self, table._fingerprint), [])
        return dataset(self, images, labels, classes, there, name)

    def glance(self) -> Glance:
        """The shape that the first image comes to, and whether there are labels."""
        table, image, label = self._open()
        first = list(islice(table, FEW))
        names = [f"image {i}" for i in range(len(first))]
        images = Images(names, lambda i: _content(first[i][image]), self.path, self._limits)
        return Glance(images.glance(self.channels, self.resize), bool(label))

    @property
    def _limits(self) -> Limits:
        return Limits(self.most_pixels, self.most_side)

    def _images(self, table: Any, image: str) -> Images:
        names = [f"image {i}" for i in range(len(table))]
        return Images(names, lambda i: _content(table[i][image]), self.path, self._limits)

    def _open(self) -> tuple[Any, str, str]:
        """The table with its images undecoded, and the columns of images and labels."""
        try:
            import datasets
        except ImportError:
            raise Refused("this data needs the library datasets: pip install 'undiffuse[datasets]'") from None
        try:
            if Path(self.path).is_dir() and any((Path(self.path) / name).exists() for name in SAVED):
                table = datasets.load_from_disk(self.path)
                table = table[self.split] if isinstance(table, datasets.DatasetDict) else table
            else:
                table = datasets.load_dataset(self.path, split=self.split, streaming=self.streaming)
        except Exception as error:  # the library has no common error
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise Refused(f"cannot open the data set {self.path!r}, split {self.split!r}: {said}") from None
        features = table.features or next(iter(table), {})
        pictures = [name for name in features if isinstance(features[name], datasets.Image)]
        image = self.image or next(iter(pictures), "")
        if image not in pictures:
            has = f"its columns of images are: {', '.join(pictures)}" if pictures else f"it has: {', '.join(features)}"
            raise Refused(f"{self.path} has no column of images {image!r}{near(image, pictures)}; {has}")
        label = "" if self.label == "none" else self.label or next((name for name in LABELS if name in features), "")
        if label and label not in features:
            raise Refused(f"{self.path} has no column {label!r}{near(label, features)}; it has: {', '.join(features)}")
        return table.cast_column(image, datasets.Image(decode=False)), image, label

    def _streamed(self, table: Any, image: str, label: str, name: str) -> Dataset:
        """Every image once, straight into the cache; the first one says what all become."""
        there = place((self, name), [])
        kept = find(there) or self._gathered(table, image, label, there)
        labels, classes = kept.beside.get("label"), tuple(kept.about.get("classes", ()))
        notes = {key: value for key, value in kept.about.items() if key != "classes"}
        if resized := self.resize.describe():
            notes["resized"] = resized
        conditions = {} if labels is None else {"label": labels}
        return Dataset(kept.x, conditions, classes, name, notes=notes, names=kept.names)

    def _gathered(self, table: Any, image: str, label: str, there: Path) -> Kept:
        broken, values, names = Broken(), [], []
        about: dict[str, Any] = {}
        beside: dict[str, np.ndarray] = {}

        def parts() -> Iterator[np.ndarray]:
            target = None
            for i, row in enumerate(table):
                one = Images([f"image {i}"], lambda _, row=row: _content(row[image]), self.path, self._limits)
                if target is None:
                    _, target = one.look(self.channels, self.resize, broken)
                    shape = one.pixels(0, target).shape
                whole: dict[int, np.ndarray] = {}
                broken.keep(whole, 0, attempt(lambda one=one, target=target: one.pixels(0, target)), f"image {i}")
                for pixels in whole.values():
                    if pixels.shape != shape:
                        raise Refused(
                            f"image {i} of {self.path} is {pixels.shape}, the first {shape}: "
                            f"give --set data.size={min(shape[-2:])}"
                        )
                    names.append(f"image {i}")
                    values.append(row[label] if label else 0)
                    yield pixels[None]
            about.update(broken.settle(self.skip_broken, self.path, len(names) + len(broken.reasons)))
            if label:
                beside["label"], about["classes"] = _classes((table.features or {}).get(label), values, self.path)

        return gather(there, parts(), None, Kept(np.empty(0), beside, names, about))


def _classes(feature: Any, values: Any, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers and names, as the column's type says them, or as its values do."""
    names = getattr(feature, "names", None)
    if not names:
        return classify([str(value) for value in values], f"{where}: label")
    labels = np.array(values, np.int64)
    if labels.min() < 0 or labels.max() >= len(names):
        raise Refused(f"{where}: label goes from {labels.min()} to {labels.max()}, and there are {len(names)} classes")
    return labels, tuple(names)


def _content(cell: Any) -> Content:
    """The encoded bytes of an image, or its path on this machine; raises Refused if there is neither."""
    if cell and cell.get("bytes"):
        return cell["bytes"]
    if cell and cell.get("path"):
        return Path(cell["path"])
    raise Refused("it is empty")
