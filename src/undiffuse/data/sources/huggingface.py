"""Images from the Hugging Face hub, or from a folder that its library saved (the extra `datasets`)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from undiffuse.core.errors import Refused, near
from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import Decoded, find, gather, place
from undiffuse.data.images.broken import Broken
from undiffuse.data.images.decode import Content, ImageHeader, Images, Target, attempt, known_channels
from undiffuse.data.images.encoded import dataset
from undiffuse.data.labels import classify, present, word
from undiffuse.data.source import Encoded, Peek

SAVED = ("state.json", "dataset_dict.json")  # what `save_to_disk` writes
USUAL = "train"  # split
FEW = 10  # images that a glance looks at
LABELS = ("label", "labels", "class")


@dataclass(frozen=True)
class HuggingFace(Encoded):
    """A data set of images by its name on the hub, or in a folder written by `save_to_disk`.

    path: the name or the folder. split: which part. image, label: the columns; left empty, the first of images and one
    called label, if there is one; label = "none": it is not read. streaming: read it once over the network into the
    cache, without a copy of the files. All else: as of `folder`. No code of a data set is run.
    """

    path: str
    split: str = USUAL
    image: str = ""
    label: str = ""
    streaming: bool = False

    aliases: ClassVar[tuple[str, ...]] = ("hf",)

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
        return dataset(self, images, labels, classes, self._place(table), name)

    def peek(self) -> Peek:
        """The shape that the first image comes to, and whether there are labels."""
        table, image, label = self._open()
        first = list(islice(table, FEW))
        names = [f"image {i}" for i in range(len(first))]
        images = Images(names, lambda i: _content(first[i][image]), self.path, self.limits)
        return Peek(images.peek(self.channels, self.resize), bool(label))

    def _images(self, table: Any, image: str) -> Images:
        names = [f"image {i}" for i in range(len(table))]
        return Images(names, lambda i: _content(table[i][image]), self.path, self.limits)

    def _open(self) -> tuple[Any, str, str]:
        """The table with its images undecoded, and the columns of images and labels."""
        try:
            import datasets
        except ImportError:
            raise Refused("this data needs the library datasets: pip install 'undiffuse[datasets]'") from None
        try:
            if self._is_saved:
                table: Any = datasets.load_from_disk(self.path)
            else:
                table = datasets.load_dataset(self.path, split=self.split, streaming=self.streaming)
        except Exception as error:  # the library has no common error
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise Refused(f"cannot open the data set {self.path!r}, split {self.split!r}: {said}") from None
        if self._is_saved:
            table = self._part(table)
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

    @property
    def _is_saved(self) -> bool:
        """Whether `save_to_disk` wrote the folder."""
        return any((Path(self.path) / name).exists() for name in SAVED)

    def _part(self, table: Any) -> Any:
        """The split that is asked for; raises Refused, listing those that there are."""
        parts = {str(table.split or USUAL): table} if hasattr(table, "features") else dict(table)
        if hasattr(table, "features") and self.split == USUAL:
            return table  # saved alone: the only part there is, whatever it is called
        if self.split not in parts:
            raise Refused(
                f"{self.path} has no split {self.split!r}{near(self.split, parts)}; it has: {', '.join(parts)}"
            )
        return parts[self.split]

    def _place(self, table: Any) -> Path:
        """Where decoded images are kept: by what the library knows of the data, and by the files as they are now."""
        here = [path for path in sorted(Path(self.path).rglob("*")) if path.is_file()]
        return place((self.key if here else self, "fingerprint", _fingerprint(table)), here)

    def _streamed(self, table: Any, image: str, label: str, name: str) -> Dataset:
        """Every image once, straight into the cache; the first one says what all become."""
        there = self._place(table)
        kept = find(there) or self._gathered(table, image, label, there)
        said = dict(kept.about)
        conditions, classes, more = present(kept.beside.get("label"), said.pop("classes", ()), self.path)
        notes = {**said, **more}
        if resized := self.resize.describe():
            notes["resized"] = resized
        return Dataset(kept.x, conditions, classes, name, notes=notes, names=kept.names)

    def _gathered(self, table: Any, image: str, label: str, there: Path) -> Decoded:
        broken, values, names = Broken(), [], []
        about: dict[str, Any] = {}
        beside: dict[str, np.ndarray] = {}

        def parts() -> Iterator[np.ndarray]:
            target = first = None
            for i, row in enumerate(table):
                name = f"image {i}"
                one = Images([name], lambda _, row=row: _content(row[image]), self.path, self.limits)
                kinds: dict[int, ImageHeader] = {}
                broken.keep(kinds, 0, attempt(lambda one=one: one.kind(0)), name)  # pyright: ignore[reportArgumentType]
                for kind in kinds.values():
                    if target is None or first is None:
                        first, (_, target) = kind, one.look(self.channels, self.resize, broken)
                        shape = one.pixels(0, target).shape
                    self._refuse_other(name, kind, first, target)
                    whole: dict[int, np.ndarray] = {}
                    broken.keep(whole, 0, attempt(lambda one=one, target=target: one.pixels(0, target)), name)
                    for pixels in whole.values():
                        if pixels.shape != shape:
                            raise Refused(
                                f"{name} of {self.path} is {pixels.shape}, the first {shape}: "
                                f"give --set data.size={min(shape[-2:])}"
                            )
                        names.append(name)
                        values.append(row[label] if label else None)
                        yield pixels[None]
            about.update(broken.settle(self.skip_broken, self.path, len(names) + len(broken.reasons)))
            if label:
                beside["label"], about["classes"] = _classes((table.features or {}).get(label), values, self.path)

        return gather(there, parts(), None, Decoded(np.empty(0), beside, names, about))

    def _refuse_other(self, name: str, kind: ImageHeader, first: ImageHeader, target: Target) -> None:
        """Raises Refused for an image that would lose something, or change its scale, by becoming what the first one
        says: of a stream nobody knows what is still to come.
        """
        scaled = kind.dtype == target.dtype or (kind.dtype, target.dtype) == ("uint16", "uint8")
        if scaled and (self.channels or str(kind) == str(first)):
            return
        advice = (
            "give --set data.channels=3 (RGB), 1 (grey) or 4 (RGBA)" if scaled else "read the data without streaming"
        )
        raise Refused(f"{name} of {self.path} has {kind}, and the first has {first}: {advice}")


def _fingerprint(table: Any) -> str:
    """What tells these data from others of the same name: the library's own mark, and of a stream where it comes from
    and how much it is.
    """
    source, info = getattr(table, "_ex_iterable", None), getattr(table, "info", None)
    files = json.dumps(
        getattr(source, "kwargs", {}),
        default=lambda value: getattr(value, "_fingerprint", None) or getattr(value, "args", type(value).__name__),
    )
    return repr((getattr(table, "_fingerprint", ""), files, *(getattr(info, n, "") for n in ("version", "splits"))))


def _classes(feature: Any, values: Any, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers and names, as the column's type says them, or as its values do.

    Raises Refused for images without a label, and for those with several.
    """
    names = tuple(map(word, getattr(feature, "names", None) or ()))
    several = next((value for value in values if isinstance(value, list | dict)), None)
    if several is not None:
        raise Refused(
            f"{where} has several labels an image, such as {several!r:.80}: name a column with one, "
            "--set data.label=NAME, or none, --set data.label=none"
        )
    missing = [i for i, value in enumerate(values) if value is None or (names and value == -1) or not word(value)]
    if missing:
        raise Refused(
            f"{where} has no label for {len(missing)} of {len(values)} images, such as image {missing[0]}; "
            "--set data.label=none reads none"
        )
    return classify(np.array(values, np.int64) if names else values, f"{where}: label", names)


def _content(cell: Any) -> Content:
    """The encoded bytes of an image, or its path on this machine; raises Refused if there is neither."""
    if cell and cell.get("bytes"):
        return cell["bytes"]
    if cell and cell.get("path"):
        return Path(cell["path"])
    raise Refused("it is empty")
