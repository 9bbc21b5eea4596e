"""One walk over all items, in slices: what each hashes to and how far its numbers reach."""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.rows import Items, chunk
from undiffuse.progress import progress_bar


@dataclass(frozen=True, eq=False)
class Survey:
    """Of each item of x: blake2b of its little-endian bytes as uint64, least and greatest number; (count,) each."""

    x: Items
    hashes: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def of(self, x: Items, indices: np.ndarray) -> "Survey":
        """The same of the items x, which are those at the indices."""
        return Survey(x, self.hashes[indices], self.low[indices], self.high[indices])


def survey(x: Items, name: str) -> Survey:
    """Reads every item once, behind a bar where that takes long; raises Refused for numbers that are not finite."""
    hashes = np.empty(len(x), np.uint64)
    low, high = np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    blank: dict[bytes, bytes] = {}
    step = chunk(x)
    with progress_bar(total=len(x), desc=f"checking {name}", unit="item", delay=2, leave=False) as bar:
        for start in range(0, len(x), step):
            part = x[start : start + step]
            rows = slice(start, start + len(part))
            flat = np.ascontiguousarray(part, dtype=x.dtype.newbyteorder("<")).reshape(len(part), -1)
            low[rows], high[rows] = flat.min(1), flat.max(1)
            hashes[rows] = _hashes(flat, _even(flat, low[rows] == high[rows]), blank)
            if not (np.isfinite(low[rows]).all() and np.isfinite(high[rows]).all()):
                raise _not_finite(x, start, step, name)
            bar.update(len(part))
    return Survey(x, hashes, low, high)


def _even(flat: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """Which of the likely rows hold the same bits over and over: -0.0 equals 0.0, but is another number."""
    if flat.dtype.kind == "f" and likely.any():
        bits = flat.view(f"u{flat.itemsize}")
        return likely & (bits.min(1) == bits.max(1))
    return likely


def _hashes(flat: np.ndarray, even: np.ndarray, blank: dict[bytes, bytes]) -> np.ndarray:
    """blake2b of each row's bytes; flat: (count, numbers), contiguous.

    even: the rows that hold one number over and over, as in a sparse file; `blank` keeps what these hash to.
    """
    size = flat.shape[1] * flat.itemsize
    view = flat.reshape(-1).view(np.uint8).data
    digests = []
    for i, same in zip(range(0, len(view), size), even.tolist(), strict=True):
        row = view[i : i + size]
        number = bytes(row[: flat.itemsize]) if same else b""
        digest = blank.get(number) or blake2b(row, digest_size=8).digest()
        if same and len(blank) < 1000:
            blank[number] = digest
        digests.append(digest)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _not_finite(x: Items, start: int, step: int, name: str) -> Refused:
    """How many numbers are NaN or infinite, and where the first one is; the items before `start` are fine."""
    count, first = 0, ""
    for i in range(start, len(x), step):
        bad = ~np.isfinite(x[i : i + step])
        count += int(bad.sum())
        if not first:
            item, *rest = np.unravel_index(int(bad.argmax()), bad.shape)
            first = str((i + int(item), *map(int, rest)))
    return Refused(f"{name} has {count} numbers that are NaN or infinite; the first is at index {first}")
