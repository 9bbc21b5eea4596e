"""A cache of what is costly to compute of real data: files of plain numbers, named by what they came from."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from undiffuse import __version__
from undiffuse.core.errors import Refused
from undiffuse.evaluation.features.download import home
from undiffuse.storage.files import read_tensors, write_tensors

MOST_BYTES = 4 * 2**30

Arrays = dict[str, np.ndarray]


class Cache:
    """Arrays by a JSON key, one safetensors file each; the oldest are removed above 4 GiB in all.

    A file that is broken, or whose key is another, is made again; where nothing can be written the work is done each
    time, and `problem` says why. folder: None keeps nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.problem = ""

    def arrays(self, key: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """The arrays kept under the key and this version, or what `make` makes of it now."""
        if self.folder is None:
            return make()
        key = json.loads(json.dumps({**key, "undiffuse": __version__}, sort_keys=True))
        path = self.folder / f"{hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()}.safetensors"
        found = _read(path, key)
        if found is not None:
            path.touch()  # used last, kept longest
            return found
        made = make()
        try:
            write_tensors(path, {name: torch.from_numpy(np.array(array)) for name, array in made.items()}, key)
            _prune(self.folder)
        except (Refused, OSError) as error:
            self.problem = f"nothing is kept for the next time: {error}"
        return made


def usual() -> Cache:
    """The cache in `reference` under UNDIFFUSE_CACHE, or ~/.cache/undiffuse."""
    return Cache(home() / "reference")


def digest(*arrays: np.ndarray | None) -> str:
    """A text that differs where any number, shape, dtype or the order differs."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        if array is None:
            found.update(b"none")
            continue
        found.update(f"{array.shape} {array.dtype.str}".encode())
        for start in range(0, len(array), 4096):
            found.update(np.ascontiguousarray(array[start : start + 4096]).data)
    return found.hexdigest()


def _read(path: Path, key: Mapping[str, Any]) -> Arrays | None:
    if not path.exists():
        return None
    try:
        tensors, about = read_tensors(path, "cache")
    except Refused:
        return None
    return {name: tensor.numpy() for name, tensor in tensors.items()} if about == key else None


def _prune(folder: Path) -> None:
    """Remove the files used longest ago, until what is left is small enough."""
    left = MOST_BYTES
    for path in sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True):
        left -= path.stat().st_size
        if left < 0:
            path.unlink()
