"""A cache of decoded data: in memory where they fit, else in a file that is written once and memory-mapped later."""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.rows import Items, MappedRows
from undiffuse.storage.files import PARTIAL, discard, read_json, read_text, whole, write_json, write_text

MEMORY, CACHE = "UNDIFFUSE_MEMORY", "UNDIFFUSE_CACHE"
SHARE = 4  # one part in so many of the machine's memory
UNKNOWN = 2 * 10**9  # bytes, where the system does not say how much memory there is
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
READING = 2  # counts up when the same files are decoded to other numbers
ITEMS, ABOUT, NAMES = "items.npy", "about.json", "names.txt"


@dataclass(frozen=True, eq=False)
class Decoded:
    """Decoded items, (count, *shape), their names if they have some, arrays beside them and facts in JSON's types."""

    x: Items
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)
    names: Sequence[str] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def budget() -> int:
    """Bytes that decoded data may take in memory: the environment's UNDIFFUSE_MEMORY, or a quarter of all memory."""
    asked = os.environ.get(MEMORY)
    if asked is None:
        known = hasattr(os, "sysconf")  # not on Windows
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE if known else UNKNOWN
    size = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]?)B?\s*", asked.upper())
    try:
        return int(float(size[1]) * UNITS[size[2]])  # pyright: ignore[reportOptionalSubscript] - a TypeError then
    except (TypeError, ValueError):
        raise Refused(f"{MEMORY}={asked} is not a size; write 500MB or 2GB") from None


def cache() -> Path:
    """Where decoded data are kept: the environment's UNDIFFUSE_CACHE, or ~/.cache/undiffuse."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "undiffuse")


def place(fields: Any, files: Iterable[Path]) -> Path:
    """The cache folder of a source with these fields and these files, by their sizes and times of change."""
    digest = blake2b(repr((READING, fields)).encode(errors="surrogatepass"), digest_size=16)
    for file in files:
        try:
            state = file.stat()
        except OSError:  # a link that leads nowhere is a broken image, which is named where it is read
            continue
        digest.update(repr((str(file.absolute()), state.st_size, state.st_mtime_ns)).encode(errors="surrogatepass"))
    return cache() / digest.hexdigest()


def find(there: Path) -> Decoded | None:
    """The data in the folder `there`, memory-mapped; None if there are none or writing was interrupted."""
    if not (there / ABOUT).exists():
        return None
    try:
        about = read_json(there / ABOUT, "cache")
        x = MappedRows(np.load(there / ITEMS, mmap_mode="r", allow_pickle=False))
        beside = {name: np.load(there / f"{name}.npy", allow_pickle=False) for name in about["beside"]}
        names = json.loads(read_text(there / NAMES, "cache", (there / NAMES).stat().st_size))
        return Decoded(x, beside, names, about["about"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"what was decoded to {there} is damaged ({error}): remove that folder") from None


def load_items(there: Path, kept: Decoded) -> Items:
    """The items of the cache: read into memory if they fit the budget, else memory-mapped."""
    fits = isinstance(kept.x, MappedRows) and kept.x.nbytes <= budget()
    return np.load(there / ITEMS, allow_pickle=False) if fits else kept.x


def remember(there: Path, kept: Decoded, what: str = "decoded data") -> Decoded:
    """Write data that are in memory to the folder `there` if the disk has space, and log what; returns the data."""
    if not isinstance(kept.x, np.ndarray) or not _free(there) > 2 * kept.x.nbytes:
        return kept
    _write(there, kept.x, (), kept)
    logging.getLogger("undiffuse").warning(
        "the %s are kept for the next time: %s in %s (%s says where)", what, bytes_(kept.x.nbytes), there, CACHE
    )
    return kept


def gather(there: Path, blocks: Iterable[np.ndarray], most: int | None, kept: Decoded) -> Decoded:
    """All blocks, (k, *shape) each, as one array: in memory if `most` items fit the budget, else in the folder `there`.

    most: how many items there can be; None: unknown, so that they go to the disk. kept: what stands beside the items;
    it is read after the last block, so that it may be filled while the blocks are made. Its x is not used.
    Raises Refused, with sizes, if the disk has too little space.
    """
    stream = iter(blocks)
    first = next(stream, None)
    if first is None:
        return Decoded(np.empty((0, 1), np.float32), kept.beside, kept.names, kept.about)
    each = first[:1].nbytes
    if most is not None and most * each <= budget():
        x = np.empty((most, *first.shape[1:]), first.dtype)
        done = 0
        for block in _after(first, stream):
            x[done : done + len(block)] = block
            done += len(block)
        return Decoded(x[:done], kept.beside, kept.names, kept.about)
    check_disk_space(there, (most or 0) * each)
    _write(there, first, stream, kept)
    found = find(there)
    assert found is not None
    return found


def check_disk_space(there: Path, size: int) -> None:
    """Raises Refused unless the disk has space for so many bytes at `there`."""
    free = _free(there)
    if size > free:
        raise Refused(
            f"the decoded data take {bytes_(size)}, more than the {bytes_(budget())} that fit the memory, and "
            f"{_above(there)} has {bytes_(free)} free: set {CACHE} to a folder with more, or data.size to fewer pixels"
        )


def bytes_(size: float) -> str:
    """`512 MB`"""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _above(there: Path) -> Path:
    return next(parent for parent in there.absolute().parents if parent.exists())


def _free(there: Path) -> int:
    return shutil.disk_usage(_above(there)).free


def _write(there: Path, first: np.ndarray, rest: Iterable[np.ndarray], kept: Decoded) -> None:
    """The folder `there`, whole or not at all: the blocks as one array, and what stands beside them."""
    _sweep(there.parent)
    with whole(there) as temporary:
        temporary.mkdir()
        _append(temporary / ITEMS, first, rest)
        for name, values in kept.beside.items():
            np.save(temporary / f"{name}.npy", values)
        write_text(temporary / NAMES, json.dumps(kept.names))
        write_json(temporary / ABOUT, {"beside": list(kept.beside), "about": kept.about})


def _after(first: np.ndarray, rest: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    yield first
    yield from rest


def _append(file: Path, first: np.ndarray, rest: Iterable[np.ndarray]) -> None:
    """An .npy file of all blocks; its header is written again once the count is known."""
    count = 0
    with file.open("wb") as out:
        _head(out, 2**62, first)
        start = out.tell()
        for block in _after(first, rest):
            out.write(np.ascontiguousarray(block).data)
            count += len(block)
        out.seek(0)
        _head(out, count, first, start)


def _head(out: Any, count: int, block: np.ndarray, length: int | None = None) -> None:
    """The header of an .npy file of `count` items, made `length` bytes long."""
    form = {"descr": np.lib.format.dtype_to_descr(block.dtype), "fortran_order": False}
    text = repr({**form, "shape": (count, *block.shape[1:])}).encode()
    size = length or -(-(10 + len(text) + 1) // 64) * 64
    out.write(b"\x93NUMPY\x01\x00" + (size - 10).to_bytes(2, "little") + text.ljust(size - 11) + b"\n")


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed left half-written."""
    for path in folder.glob(f"{PARTIAL}*"):
        process = path.name.removeprefix(PARTIAL).partition("-")[0]
        if process.isdigit() and not _alive(int(process)):
            discard(path)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
