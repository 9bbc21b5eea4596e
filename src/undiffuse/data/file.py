"""Your own arrays: an .npz or .npy file of images or points, with labels if it has them."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from undiffuse.core.errors import Refused, near
from undiffuse.data.dataset import Dataset, refuse_not_finite
from undiffuse.data.source import Source

ITEMS = ("images", "x", "data", "arr_0")
LABELS = ("labels", "label", "y")
CHANNELS = (1, 3, 4)
MOST_CLASSES = 10_000
ARCHIVE, ARRAY = b"PK", b"\x93NUMPY"


@dataclass(frozen=True)
class File(Source):
    """Images (count, height, width[, 1, 3 or 4 channels]) or points (count, features), and labels from 0 (count,).

    key, labels: the arrays' names in an .npz; left empty, the first of images, x, data, arr_0 (or the only array) and
    the first of labels, label, y, if there is one. An array `classes` of strings names the classes; else they are
    called 0, 1 ... uint8 and uint16 images keep their dtype, floats and all points become float32. No code is run.
    """

    path: str
    key: str = ""
    labels: str = ""

    def load(self) -> Dataset:
        """All items; raises Refused, naming the file, for whatever makes it unusable."""
        path = Path(self.path)
        if not path.is_file():
            hint = " (a folder: use data.name=folder)" if path.is_dir() else ""
            raise Refused(f"there is no file {self.path}{hint}")
        with path.open("rb") as file:
            return self._load(self._open(file, path.stem), path.stem)

    def _open(self, file: BinaryIO, name: str) -> Mapping[str, np.ndarray]:
        """The arrays by name; those of an .npz are read when they are asked for."""
        start = file.read(6)
        if not start.startswith((ARCHIVE, ARRAY)):
            raise Refused(f"{self.path} is not an .npz or .npy file: it starts with {start!r}")
        file.seek(0)
        with self._refusing():
            loaded = np.load(file, allow_pickle=False)
        arrays: Mapping[str, np.ndarray] = loaded if start.startswith(ARCHIVE) else {name: loaded}
        if not arrays:
            raise Refused(f"{self.path} holds no arrays")
        return arrays

    def _load(self, arrays: Mapping[str, np.ndarray], name: str) -> Dataset:
        key = _find(self.key, ITEMS, arrays, self.path) or (next(iter(arrays)) if len(arrays) == 1 else "")
        if not key:
            has = f"it has: {', '.join(arrays)}. Name one with key="
            raise Refused(f"{self.path} has none of the arrays {', '.join(ITEMS)}; {has}")
        x = _items(self._read(arrays, key), f"{self.path}: {key}")
        label_key = _find(self.labels, LABELS, arrays, self.path)
        if not label_key:
            return Dataset(x, name=name)
        labels = _labels(self._read(arrays, label_key), len(x), f"{self.path}: {label_key}")
        count = int(labels.max()) + 1
        classes = tuple(map(str, range(count)))
        if "classes" in arrays:
            classes = tuple(map(str, self._read(arrays, "classes").ravel()))
            if len(classes) < count:
                raise Refused(f"{self.path}: classes names {len(classes)} classes, and the labels go up to {count - 1}")
        return Dataset(x, {"label": labels}, classes, name)

    def _read(self, arrays: Mapping[str, np.ndarray], key: str) -> np.ndarray:
        with self._refusing():
            return np.asarray(arrays[key])

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """NumPy's complaints about the file, as Refused."""
        try:
            yield
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError) as error:
            if "allow_pickle" in str(error):
                raise Refused(
                    f"{self.path} holds Python objects, which are not read: store arrays of numbers"
                ) from None
            raise Refused(f"{self.path} is cut short or damaged ({error})") from None


def _find(asked: str, usual: tuple[str, ...], arrays: Mapping[str, np.ndarray], path: str) -> str:
    """The array asked for, else the first with a usual name, else nothing; refuses a name that is not there."""
    if asked and asked not in arrays:
        raise Refused(f"{path} has no array {asked!r}{near(asked, arrays)}; it has: {', '.join(arrays)}")
    return asked or next((name for name in usual if name in arrays), "")


def _items(x: np.ndarray, where: str) -> np.ndarray:
    """Images with their channels first, or points, in the dtypes that a Dataset has."""
    if x.size == 0:
        raise Refused(f"{where} is empty: shape {x.shape}")
    if x.ndim == 3:
        x = x[:, None]  # (count, 1, height, width)
    elif x.ndim == 4 and x.shape[3] in CHANNELS:
        x = np.moveaxis(x, 3, 1)
    elif x.ndim not in (2, 4) or (x.ndim == 4 and x.shape[1] not in CHANNELS):
        raise Refused(
            f"{where} has shape {x.shape}; images are (count, height, width) or (count, height, width, channels) "
            "with 1, 3 or 4 channels, points are (count, features)"
        )
    native = x.dtype.newbyteorder("=")
    if not (np.issubdtype(native, np.floating) or native in (np.uint8, np.uint16)):
        raise Refused(f"{where} has dtype {x.dtype}; uint8, uint16 and floats are read: convert it with astype")
    if x.ndim == 2 or np.issubdtype(x.dtype, np.floating):
        refuse_not_finite(x, where)
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which Dataset refuses
            x = x.astype(np.float32)
        native = x.dtype
    return np.ascontiguousarray(x, dtype=native)


def _labels(labels: np.ndarray, count: int, where: str) -> np.ndarray:
    """One whole number from 0 an item, as int64 (count,)."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if not np.issubdtype(labels.dtype, np.integer):
        raise Refused(f"{where} must be integers that count classes from 0; its dtype is {labels.dtype}")
    if labels.shape != (count,):
        raise Refused(f"{where} has shape {labels.shape}, and there are {count} items: one label each is needed")
    if labels.min() < 0 or labels.max() >= MOST_CLASSES:
        raise Refused(
            f"{where} goes from {labels.min()} to {labels.max()}; classes count from 0 and stay below {MOST_CLASSES}"
        )
    return labels.astype(np.int64)
