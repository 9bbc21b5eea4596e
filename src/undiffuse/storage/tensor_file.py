"""Tensors in a safetensors file: what is there is known before anything of it is read."""

import os
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.storage.strict_json import parse_json

HEADER = 16 * 2**20  # bytes: names, shapes and places of the tensors, and the JSON object about them
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "BOOL": torch.bool,
}


class StoredTensors(Mapping[str, Tensor]):
    """Tensors by name that are read when they are asked for. like: of their shapes and dtypes, which take no memory."""

    like: dict[str, Tensor]

    def __iter__(self) -> Iterator[str]:
        return iter(self.like)

    def __len__(self) -> int:
        return len(self.like)

    @property
    def nbytes(self) -> int:
        """What all tensors take together, by their header."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.like.values())


class Held(StoredTensors):
    """The tensors of an open file by name, each read when it is asked for.

    about: the JSON object about them; metadata: all that the file says, as texts. like: tensors of their shapes and
    dtypes that take no memory (device "meta").
    Raises Refused for a header that is broken or too large.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what, self._file = path, what, None
        text, self._body = _header(path, what)
        head = dict(parse_json(text, f"{what} {path}"))
        said = head.pop("__metadata__", {})
        self.metadata: dict[str, Any] = said if isinstance(said, dict) else {}
        about = said.get("about", "{}") if isinstance(said, dict) else None
        if not isinstance(about, str):
            raise Refused(f"{what} {path} is broken: what it says about itself is no text")
        self.about: dict[str, Any] = parse_json(about, f"{what} {path}")
        self.like: dict[str, Tensor] = {name: _like(name, entry, f"{what} {path}") for name, entry in head.items()}
        self._places = {name: entry.get("data_offsets") for name, entry in head.items()}

    def __getitem__(self, name: str) -> Tensor:
        like = self.like[name]
        with refusing(self._path, self._what):
            if self._file is None:
                with safe_open(self._path, framework="pt"):  # checks where all tensors lie
                    self._file = os.fdopen(regular(self._path), "rb")
            # read, not mapped: no memory beside the tensor's own, and a file that is cut short meanwhile is an error
            tensor = torch.empty(like.shape, dtype=like.dtype, device="cpu")
            self._file.seek(self._body + self._places[name][0])
            if self._file.readinto(tensor.reshape(-1).view(torch.uint8).numpy().data) < tensor.nbytes:
                raise ValueError("it ends too soon")
            return tensor

    def close(self) -> None:
        """Let go of the file; tensors that were read stay."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Part(StoredTensors):
    """The tensors of an open file whose names begin with a prefix, without it."""

    def __init__(self, whole: "Held | Part", prefix: str) -> None:
        self._whole, self._prefix = whole, prefix
        self.like: dict[str, Tensor] = {
            name.removeprefix(prefix): tensor for name, tensor in whole.like.items() if name.startswith(prefix)
        }

    def __getitem__(self, name: str) -> Tensor:
        return self._whole[self._prefix + name]


@contextmanager
def held(path: Path, what: str) -> Iterator[Held]:
    """Yields a file's tensors, none of them read yet; raises Refused if the file is missing, broken or no file."""
    found = Held(path, what)
    try:
        yield found
    finally:
        found.close()


def regular(path: Path) -> int:
    """Open a file to read, and only a file: a folder, a device or a pipe raises OSError; returns its handle."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(None, "it is no file")
    return handle


@contextmanager
def refusing(path: Path, what: str) -> Iterator[None]:
    """Turns whatever goes wrong in reading a tensor file into Refused."""
    try:
        yield
    except Refused:
        raise
    except OSError as error:
        raise Refused(f"cannot read {what} {path}: {(error.strerror or str(error)).lower()}") from error
    except (SafetensorError, RuntimeError, ValueError, TypeError, struct.error) as error:
        reason = str(error).partition("\n")[0]
        raise Refused(f"cannot read {what} {path}: it is incomplete or broken ({reason})") from error


def _header(path: Path, what: str) -> tuple[str, int]:
    """The file's own list of its tensors, as JSON's text, and where the first of them begins."""
    with refusing(path, what), os.fdopen(regular(path), "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        if size > HEADER:
            raise ValueError(f"its header claims {size} bytes, and {HEADER} are the most")
        text = file.read(size)
        if len(text) < size:
            raise ValueError(f"its header has {len(text)} of {size} bytes")
        return text.decode("utf-8"), 8 + size


def _like(name: str, entry: Any, what: str) -> Tensor:
    """A tensor without memory, as the header describes it."""
    entry = entry if isinstance(entry, dict) else {}
    shape, dtype = entry.get("shape"), entry.get("dtype")
    if not isinstance(shape, list) or not isinstance(dtype, str):
        raise Refused(f"{what} is broken: its header describes no tensor {name!r}")
    if dtype not in DTYPES:
        raise Refused(f"{what}: {name!r} has the dtype {dtype}; known are {', '.join(DTYPES)}")
    try:
        return torch.empty(shape, dtype=DTYPES[dtype], device="meta")
    except (SafetensorError, RuntimeError, TypeError, OverflowError) as error:
        raise Refused(f"{what} is broken: {name!r} cannot have the shape {str(shape)[:80]}") from error
