"""Your own arrays: an .npz or .npy file of images, sequences, volumes or points, with labels if it has them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from undiffuse.core.errors import Refused, near
from undiffuse.data.arrays import blocks, dtype_of, items, known, layout, shape_of, tokens_of, wide, without_broken
from undiffuse.data.condition_files import from_arrays, refuse_label
from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import Decoded, find, gather, place
from undiffuse.data.images.resize import Resize
from undiffuse.data.labels import classify, column, of_array, present, word
from undiffuse.data.latent_file import latent_axes, latent_notes
from undiffuse.data.rows import Items
from undiffuse.data.source import Peek, Resized
from undiffuse.data.stored import Member, members
from undiffuse.data.survey import survey

USUAL = ("images", "x", "data", "arr_0", "x_train", "videos", "latents")
LABELS = ("labels", "label", "y", "y_train")


@dataclass(frozen=True)
class File(Resized):
    """Points (count, features), images (count, height, width[, channels]) or other items, and labels (count,).

    key, labels: the arrays' names in an .npz; left empty, the first of images, x, data, arr_0, x_train, videos, latents
    (or the only array) and the first of labels, label, y, y_train, if there is one. labels may also be the path of
    an .npy or .csv file. They are words, whole numbers, true and false, or one-hot (count, classes); where an array
    `classes` has names, numbers count these from 0.
    vocabulary: the integers (count, length) are tokens, of so many symbols; 0: they are numbers.
    axes: what each axis is, one of NF NL NCL NLC NHW NCHW NHWC NDHW NCDHW NDHWC; left empty, it is guessed where clear.
    conditions: what stands beside the items, by name: an array of the .npz, or the path of an .npy or of a .csv of
    texts. Texts (count,), vectors (count, d) and images (count, height, width[, channels]) are told apart.
    size, fit, filter, crop: how images are resized, see `Resize`. skip_broken: leave out items with NaN or infinity.
    origin: where the file can be had and what is in it; said if it is not there.
    uint8 and uint16 keep their dtype, floats and all points become float32, or float64 where float32 would change them,
    other tokens int64. A large .npy stays on
    the disk. No code is run.
    """

    path: str
    key: str = ""
    labels: str = ""
    axes: str = ""
    conditions: dict[str, str] = field(default_factory=dict)
    vocabulary: int = 0
    origin: str = ""

    aliases: ClassVar[tuple[str, ...]] = ("npz", "npy")
    brings: ClassVar[tuple[str, ...]] = (*Resized.brings, "axes", "vocabulary")

    def __post_init__(self) -> None:
        known(self.axes)
        if self.vocabulary and (self.vocabulary < 2 or self.axes not in ("", "NF", "NL")):
            raise Refused(
                f"vocabulary = {self.vocabulary} with axes = {self.axes!r}: tokens are (count, length), axes NL, of 2 "
                "or more symbols"
            )
        refuse_label(self.conditions)
        _ = self.resize

    def load(self) -> Dataset:
        """All items; raises Refused, naming the file, for whatever makes it unusable."""
        path = self._there()
        arrays = members(path)
        key = self._key(arrays)
        where, member = f"{self.path}: {key}", arrays[key]
        axes = layout(member.shape, self._axes or latent_axes(arrays, key), where)
        dtype = tokens_of(member.dtype, where) if self.vocabulary else dtype_of(member.dtype, axes, where)
        labels, classes = self._labels(arrays, member.shape[0])
        conditions = from_arrays(self.conditions, arrays, member.shape[0], self.path)
        if labels is not None:
            conditions = {"label": labels, **conditions}
        x = self._items(member, axes, dtype)
        notes: dict[str, object] = {"resized": self.resize.describe()} if self.resize != Resize() else {}
        if self.skip_broken and x.dtype.kind == "f":
            x, conditions, left = without_broken(x, conditions, where)
            if left:
                logging.getLogger("undiffuse").warning("%s: %d items with NaN or infinity were left out", where, left)
                notes["broken"] = {"count": left, "examples": {}}
        seen = survey(x, where) if x.dtype.kind == "f" else None
        label, classes, said = present(conditions.get("label"), classes, self.path)
        conditions, notes = {**conditions, **label}, {**notes, **said, **latent_notes(arrays, self.path)}
        return Dataset(x, conditions, classes, path.stem, notes=notes, known=seen, vocabulary=self.vocabulary)

    def peek(self) -> Peek:
        """The shape of an item and whether there are labels, from the headers."""
        arrays = members(self._there())
        key = self._key(arrays)
        axes = layout(arrays[key].shape, self._axes or latent_axes(arrays, key), f"{self.path}: {key}")
        shape = shape_of(arrays[key].shape, axes)
        if len(shape) == 3:
            shape = (shape[0], *self.resize.shape(*shape[1:]))
        return Peek(shape, bool(self._label_key(arrays)), tokens=bool(self.vocabulary))

    @property
    def stored(self) -> tuple[int, ...]:
        """The shape of the array that the items are, from its header."""
        arrays = members(self._there())
        return tuple(arrays[self._key(arrays)].shape)

    @property
    def _axes(self) -> str:
        return "NF" if self.vocabulary else self.axes

    def _there(self) -> Path:
        path = Path(self.path)
        if not path.is_file():
            hint = (
                " (a folder: use --set data.name=folder)"
                if path.is_dir()
                else f"\n{self.origin}"
                if self.origin
                else ""
            )
            raise Refused(f"there is no file {self.path}{hint}")
        return path

    def _key(self, arrays: Mapping[str, Member]) -> str:
        key = _find(self.key, USUAL, arrays, self.path) or (next(iter(arrays)) if len(arrays) == 1 else "")
        if not key:
            has = f"it has: {', '.join(arrays)}. Name one: --set data.key={next(iter(arrays), USUAL[0])}"
            raise Refused(f"{self.path} has none of the arrays {', '.join(USUAL)}; {has}")
        return key

    def _items(self, member: Member, axes: str, dtype: np.dtype) -> Items:
        """The items as a data set has them, resized where that is wished."""
        if self.resize == Resize():
            array = member.read()
            return items(array, axes, wide(array, axes, dtype, f"{self.path}: {member.member or member.path.stem}"))
        if axes not in ("NHW", "NHWC", "NCHW"):
            raise Refused(f"{self.path}: data.size and data.crop are for images, and its axes are {axes}")
        there = place((member.member, axes, self.resize), [member.path])
        kept = find(there)
        if kept is None:
            self.resize.shape(*shape_of(member.shape, axes)[1:])  # a crop that is too large is refused before the work
            stream = blocks(member.read(), axes, dtype, self.resize)
            kept = gather(there, stream, member.shape[0], Decoded(np.empty(0)))
        return kept.x

    def _label_key(self, arrays: Mapping[str, Member]) -> str:
        if self.labels.lower().endswith((".npy", ".csv")) and self.labels not in arrays:
            return self.labels
        return _find(self.labels, LABELS, arrays, self.path)

    def _labels(self, arrays: Mapping[str, Member], count: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
        key = self._label_key(arrays)
        if not key:
            return None, ()
        named = arrays["classes"].read() if "classes" in arrays else np.empty(0, str)
        names = tuple(map(word, named.ravel().tolist()))
        if key in arrays:
            return of_array(arrays[key].read(), count, f"{self.path}: {key}", names)
        return labels_of(key, count, names)


def labels_of(path: str, count: int, names: Sequence[str] = ()) -> tuple[np.ndarray, tuple[str, ...]]:
    """(count,) class numbers and the classes' names from a separate .npy or .csv file; names: as of `classify`."""
    if not Path(path).is_file():
        raise Refused(f"there is no file of labels {path}")
    if path.lower().endswith(".csv"):
        values = column(path)
        if len(values) != count:
            raise Refused(f"{path} has {len(values)} labels, and there are {count} items: one label each is needed")
        return classify(values, path, names)
    return of_array(next(iter(members(Path(path)).values())).read(), count, path, names)


def _find(asked: str, usual: tuple[str, ...], arrays: Mapping[str, Member], path: str) -> str:
    """The array asked for, else the first with a usual name, else nothing; refuses a name that is not there."""
    if asked and asked not in arrays:
        raise Refused(f"{path} has no array {asked!r}{near(asked, arrays)}; it has: {', '.join(arrays)}")
    return asked or next((name for name in usual if name in arrays), "")
