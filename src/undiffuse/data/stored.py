"""One array of an .npy or .npz file: its header first, then its numbers in memory or mapped."""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from undiffuse.core.errors import Refused
from undiffuse.data.decoded_cache import ITEMS, budget, check_disk_space, place
from undiffuse.storage.files import whole

MAPPED = 2**27  # bytes; a larger .npy stays on the disk
ARCHIVE, ARRAY = b"PK", b"\x93NUMPY"
HEADS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class Member:
    """What the header of an array says. member: its name inside an .npz."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    member: str = ""

    @property
    def nbytes(self) -> int:
        """What its numbers take."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """The array: in memory, or mapped where it is large; an .npz is unpacked to the cache for that."""
        with refusing(self.path):
            if not self.member:
                return np.load(self.path, mmap_mode="r" if self.nbytes > MAPPED else None, allow_pickle=False)
            if self.nbytes <= budget():
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                    return npy.read_array(file, allow_pickle=False)
        return self._unpacked()

    def _unpacked(self) -> np.ndarray:
        there = place(("unpacked", self.member), [self.path])
        if not (there / ITEMS).exists():
            check_disk_space(there, self.nbytes)
            with whole(there) as temporary, refusing(self.path):
                temporary.mkdir()
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                    _copy(file, temporary / ITEMS)
        with refusing(there / ITEMS):
            return np.load(there / ITEMS, mmap_mode="r", allow_pickle=False)


def members(path: Path) -> Mapping[str, Member]:
    """The arrays of a file by name; of an .npy the one, under the file's name. Only their headers are read.

    Raises Refused, naming the file, if it is none, cut short or damaged, or holds Python objects.
    """
    with path.open("rb") as file:
        start = file.read(6)
        if not start.startswith((ARCHIVE, ARRAY)):
            raise Refused(f"{path} is not an .npz or .npy file: it starts with {start!r}")
        file.seek(0)
        with refusing(path):
            if start.startswith(ARRAY):
                return {path.stem: _header(file, path, path.stat().st_size)}
            with zipfile.ZipFile(file) as archive:
                found = {}
                for info in archive.infolist():
                    if info.filename.endswith(".npy"):
                        with archive.open(info) as inner:
                            member = _header(inner, path, info.file_size, info.filename)
                        found[info.filename.removesuffix(".npy")] = member
    if not found:
        raise Refused(f"{path} holds no arrays")
    return found


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Raises every error of reading the file as Refused; a parser may fail with any error on damaged bytes."""
    try:
        yield
    except (Refused, KeyboardInterrupt):
        raise
    except Exception as error:
        raise Refused(f"{path} is cut short or damaged ({error})") from None


def _header(file: IO[bytes], path: Path, size: int, member: str = "") -> Member:
    """The array's header; raises ValueError if the file is too short for what it says."""
    version = npy.read_magic(file)
    if version not in HEADS:
        raise ValueError(f"version {version} of the format")
    shape, _, dtype = HEADS[version](file)
    if dtype.hasobject:
        raise Refused(f"{path} holds Python objects, which are not read: store arrays of numbers")
    found = Member(path, tuple(shape), dtype, member)
    if min(shape, default=0) < 0 or found.nbytes > size - file.tell():
        raise ValueError(f"its header promises an array of shape {shape}, and the file has {size} bytes")
    return found


def _copy(file: Any, target: Path) -> None:
    with target.open("wb") as out:
        while block := file.read(2**24):
            out.write(block)
