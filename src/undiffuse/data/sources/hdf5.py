"""Your own arrays in an HDF5 file, read through h5py (the extra `hdf5`)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from undiffuse.core.errors import Refused, near
from undiffuse.data.arrays import blocks, dtype_of, known, layout, shape_of, wide, without_broken
from undiffuse.data.condition_files import from_arrays, refuse_label, value
from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import Decoded, find, gather, place
from undiffuse.data.images.resize import Resize
from undiffuse.data.labels import of_array, present, word
from undiffuse.data.source import Peek, Resized
from undiffuse.data.sources.file import LABELS, USUAL, labels_of
from undiffuse.data.stored import refusing

DEPTH = 32  # groups inside groups, and links to links


@dataclass(frozen=True)
class Hdf5(Resized):
    """A data set of an .h5 file as `file` reads arrays: images, points, sequences or volumes, and labels (count,).

    key, labels: paths of data sets inside the file; left empty, the first of images, x, data, arr_0 (or the only one)
    and the first of labels, label, y in its group or above. labels may also be an .npy or .csv file. axes, size, fit,
    filter, crop, skip_broken, conditions, and `classes` in that group: as of `file`. What does not fit the memory is
    copied to the cache once. Links to other files, and data that lie in other files, are refused.
    """

    path: str
    key: str = ""
    labels: str = ""
    axes: str = ""
    conditions: dict[str, str] = field(default_factory=dict)

    aliases: ClassVar[tuple[str, ...]] = ("h5",)

    def __post_init__(self) -> None:
        known(self.axes)
        refuse_label(self.conditions)
        _ = self.resize

    def load(self) -> Dataset:
        """All items; raises Refused, naming the file, for whatever makes it unusable."""
        with self._open() as (file, names):
            key = self._key(names)
            array, where = self._array(file, key), f"{self.path}: {key}"
            axes = layout(array.shape, self.axes, where)
            dtype = dtype_of(array.dtype, axes, where)
            dtype = wide(array, axes, dtype, where) if self.resize == Resize() else dtype
            if self.resize != Resize():
                if axes not in ("NHW", "NHWC", "NCHW"):
                    raise Refused(f"{self.path}: data.size and data.crop are for images, and its axes are {axes}")
                self.resize.shape(*shape_of(array.shape, axes)[1:])
            there = place((key, axes, self.resize), [Path(self.path)])
            stream = self._blocks(array, axes, dtype)
            kept = find(there) or gather(there, stream, array.shape[0], Decoded(np.empty(0)))
            labels, classes = self._labels(file, names, array.shape[0])
            beside = self._beside(file, names, array.shape[0])
        x = kept.x
        notes: dict[str, Any] = {"resized": self.resize.describe()} if self.resize != Resize() else {}
        conditions = beside if labels is None else {"label": labels, **beside}
        if self.skip_broken and dtype.kind == "f":
            x, conditions, left = without_broken(x, conditions, where)
            if left:
                logging.getLogger("undiffuse").warning("%s: %d items with NaN or infinity were left out", where, left)
                notes["broken"] = {"count": left, "examples": {}}
        label, classes, said = present(conditions.get("label"), classes, self.path)
        return Dataset(x, {**conditions, **label}, classes, Path(self.path).stem, notes={**notes, **said})

    def peek(self) -> Peek:
        """The shape of an item and whether there are labels, from the file's headers."""
        with self._open() as (file, names):
            key = self._key(names)
            array = self._array(file, key)
            shape = shape_of(array.shape, layout(array.shape, self.axes, f"{self.path}: {key}"))
            if len(shape) == 3:
                shape = (shape[0], *self.resize.shape(*shape[1:]))
            return Peek(shape, bool(self._label_key(file, names)))

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, list[str]]]:
        """The file, and the paths of its data sets."""
        try:
            import h5py
        except ImportError:
            raise Refused("HDF5 files are read through h5py: pip install 'undiffuse[hdf5]'") from None
        if not Path(self.path).is_file():
            raise Refused(f"there is no file {self.path}")
        with refusing(Path(self.path)), h5py.File(self.path, "r") as file:
            yield file, list(self._names(file, PurePosixPath(), 0))

    def _names(self, group: Any, path: PurePosixPath, depth: int) -> Iterator[str]:
        """The paths of all data sets that the file itself holds; links are not followed here."""
        import h5py

        for name in group if depth < DEPTH else ():
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            kind = group.get(name, getclass=True)
            if kind is h5py.Dataset:
                yield str(path / name)
            elif kind is h5py.Group:
                yield from self._names(group[name], path / name, depth + 1)

    def _key(self, names: list[str]) -> str:
        key = self.key or next((name for name in USUAL if name in names), names[0] if len(names) == 1 else "")
        if not key:
            has = (
                f"it has: {', '.join(names[:20])}. Name one: --set data.key={names[0]}"
                if names
                else "it holds no data sets"
            )
            raise Refused(f"{self.path} has none of the data sets {', '.join(USUAL)}; {has}")
        if key.strip("/") not in names:
            self._refuse_elsewhere(key)
            raise Refused(f"{self.path} has no data set {key!r}{near(key, names)}; it has: {', '.join(names[:20])}")
        return key.strip("/")

    def _refuse_elsewhere(self, key: str) -> None:
        """Raises Refused if the way to this data set is a link, which may lead to another file."""
        import h5py

        with h5py.File(self.path, "r") as file:
            group: Any = file
            for part in PurePosixPath(key.strip("/")).parts:
                link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
                if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
                    raise Refused(f"{self.path}: {key} is a link to {link.path}; links are not followed")
                group = group.get(part) if link is not None else None

    def _array(self, file: Any, key: str) -> Any:
        """The data set, once its numbers lie in this file."""
        array = file[key]
        if array.is_virtual or array.external:
            raise Refused(f"{self.path}: {key} lies in other files, which are not read: copy it into one")
        return array

    def _blocks(self, array: Any, axes: str, dtype: np.dtype) -> Iterator[np.ndarray]:
        return blocks(array, axes, dtype, self.resize)

    def _beside(self, file: Any, names: list[str], count: int) -> dict[str, np.ndarray]:
        """The conditions beside the items, by name: data sets of this file, or files of their own."""
        inside = {name: key.strip("/") for name, key in self.conditions.items() if key.strip("/") in names}
        found = from_arrays({n: key for n, key in self.conditions.items() if n not in inside}, names, count, self.path)
        for name, key in inside.items():
            found[name] = value(_words(self._array(file, key)), count, f"{self.path}: {key}")
        return found

    def _label_key(self, file: Any, names: list[str]) -> str:
        """The data set of labels: the one asked for, else one with a usual name in the group of the items, or in the
        nearest group above that has one of their length. Says where it is if it is not beside the items.
        """
        key = self._key(names)
        if self.labels:
            return self.labels
        beside, *above = PurePosixPath(key).parents
        usual = [(group, str(group / name)) for group in (beside, *above) for name in LABELS]
        count = file[key].shape[:1]
        found = next(
            (name for g, name in usual if name in names and (g == beside or file[name].shape[:1] == count)), ""
        )
        elsewhere = [name for name in names if PurePosixPath(name).name in LABELS]
        if elsewhere and (not found or PurePosixPath(found).parent != beside):
            logging.getLogger("undiffuse").warning(
                "%s: %s has no labels beside it, and %s; there are %s: choose with --set data.labels=NAME",
                *(self.path, key, f"{found} is taken" if found else "none are read", ", ".join(elsewhere[:20])),
            )
        return found

    def _labels(self, file: Any, names: list[str], count: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
        key = self._label_key(file, names).strip("/")
        if not key:
            return None, ()
        where = f"{self.path}: {key}"
        beside = str(PurePosixPath(self._key(names)).parent / "classes")
        called = self._array(file, beside) if beside in names else None
        classes = tuple(map(word, _words(called).ravel().tolist())) if called is not None else ()
        if key not in names:
            if self.labels.lower().endswith((".npy", ".csv")):
                return labels_of(self.labels, count, classes)
            raise Refused(f"{self.path} has no data set {key!r}{near(key, names)}; it has: {', '.join(names[:20])}")
        return of_array(_words(self._array(file, key)), count, where, classes)


def _words(array: Any) -> np.ndarray:
    """What a data set holds, texts as texts."""
    import h5py

    texts = h5py.check_string_dtype(array.dtype) is not None
    return np.array(array.asstr(errors="replace")[()], str) if texts else np.asarray(array[()])
