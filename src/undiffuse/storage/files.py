"""Files that are whole or absent: written under a temporary name, synced, renamed; read without running any code."""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from undiffuse.core.errors import Refused, near, some
from undiffuse.storage.strict_json import parse_json
from undiffuse.storage.tensor_file import HEADER, held, regular

JSON_LIMIT = 64 * 2**20
PARTIAL = ".partial-"  # a name with this prefix is unfinished work of a process that may have been killed


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`; the file or folder written there takes `path`'s name at the end, or
    nothing is left.

    The name is new and cannot be foreseen, so that no link that lies there leads the writing elsewhere. Until the last
    moment the old file stays; a link at `path` itself is replaced, not followed. Raises Refused if the folder cannot be
    written or the disk is full.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        for part in sorted(temporary.rglob("*")) if temporary.is_dir() else []:
            sync(part)
        sync(temporary)
        old = _beside(path)
        if path.is_dir():
            path.replace(old)  # two renames follow each other at once; removing a folder takes time
        temporary.replace(path)
        discard(old)
        sync(path.parent)
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        discard(temporary)


def _beside(path: Path) -> Path:
    """A name beside `path` that is not there yet, with its ending."""
    return path.with_name(f"{PARTIAL}{os.getpid()}-{secrets.token_hex(8)}-{path.name[-40:]}")


def own(run: Path) -> None:
    """Raises Refused, naming it, if the run folder holds a link that leads outside: what is written would follow it.

    The run folder's own path may be a link, and links inside may lead to its own files.
    """
    home = os.path.realpath(run)
    folders = [home] if os.path.isdir(home) else []
    try:
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        _refuse_outside(entry.path, home)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
    except OSError as error:
        raise Refused(f"cannot look through {run}: {error.strerror or error}") from error


def _refuse_outside(link: str, home: str) -> None:
    target = os.path.realpath(link)
    if not Path(target).is_relative_to(home):
        raise Refused(
            f"{link} is a link that leads to {target}, outside the run folder: remove it, or put what it leads to there"
        )


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def discard(path: Path) -> None:
    """Remove a file or a folder, if there is one and it lets itself be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def sweep(folder: Path) -> None:
    """Remove what killed processes have left half-written in a folder."""
    for path in folder.glob(f"{PARTIAL}*"):
        discard(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; raises Refused if it cannot be written."""
    with whole(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; raises Refused if it cannot be written."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all; raises Refused if it cannot be written."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_text(path: Path, what: str, limit: int = JSON_LIMIT) -> str:
    """A text file's content; raises Refused if it is missing, unreadable, not text or larger than `limit` bytes."""
    try:
        with os.fdopen(regular(path), "rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise Refused(f"{what} {path} is larger than {limit} bytes")
        return content.decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise Refused(f"cannot read {what} {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"cannot read {what} {path}: it is not UTF-8 text") from error
    except ValueError as error:  # a name that no file can have
        if isinstance(error, Refused):
            raise
        raise Refused(f"cannot read {what} {str(path)!r}: {error}") from error


def read_json(path: Path, what: str, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """A JSON object; raises Refused if the file is missing, too large, broken or something else."""
    return parse_json(read_text(path, what, limit), f"{what} {path}")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> None:
    """Write tensors and a JSON object about them as one safetensors file, whole or not at all."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    said = json.dumps(about or {}, allow_nan=False)
    if len(said) > HEADER // 2:
        raise Refused(f"cannot write {path}: what is said about it takes {len(said)} bytes, and {HEADER // 2} fit")
    with whole(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # what a person's other files get; safetensors would lock others out
        try:
            save_file(content, temporary, metadata={"about": said})
        except SafetensorError as error:
            raise Refused(f"cannot write {path}: {error}") from error
        temporary.chmod(mode)


def read_tensors(path: Path, what: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A safetensors file's tensors and the JSON object about them; raises Refused if it is missing or broken.

    `held` in held.py reads them one by one, and says what they are before.
    """
    with held(path, what) as found:
        return dict(found), found.about


def fit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """The tensors, once their names, shapes and dtypes are the expected ones; raises Refused naming what differs."""
    missing, extra = [n for n in expected if n not in tensors], [n for n in tensors if n not in expected]
    if missing:
        raise Refused(
            f"{what} lacks {some(map(repr, missing), 3)}"
            + (f"; it has {extra[0]!r}{near(extra[0], missing[:1000])}" if extra else "")
        )
    if extra:
        raise Refused(f"{what} holds {some(map(repr, extra), 3)}, which the model does not have")
    for name, tensor in tensors.items():
        _same(name, tensor, expected[name], what, lambda t: str(tuple(t.shape)))
        _same(name, tensor, expected[name], what, lambda t: str(t.dtype).removeprefix("torch."))
    return dict(tensors)


def finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Raises Refused, naming the tensor, if a number is infinite or not a number."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Refused(f"{what} is broken: {name!r} holds numbers that are infinite or not numbers")


def _same(name: str, tensor: Tensor, expected: Tensor, what: str, aspect: Callable[[Tensor], str]) -> None:
    if aspect(tensor) != aspect(expected):
        raise Refused(f"{what}: {name!r} is {aspect(tensor)}, the model's is {aspect(expected)}")
