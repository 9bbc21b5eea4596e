"""Files that are whole or absent: written under a temporary name, synced, renamed; read without running any code."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from undiffuse.core.errors import Refused, near

JSON_LIMIT = 64 * 2**20
PARTIAL = ".partial-"  # a name with this prefix is unfinished work of a process that may have been killed


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`; the file or folder written there takes `path`'s name at the end, or
    nothing is left.

    Raises Refused if the folder cannot be written.
    """
    temporary = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        for part in sorted(temporary.rglob("*")) if temporary.is_dir() else []:
            sync(part)
        sync(temporary)
        if path.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        discard(temporary)


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
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def sweep(folder: Path) -> None:
    """Remove what killed processes have left half-written in a folder."""
    for path in folder.glob(f"{PARTIAL}*"):
        discard(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; raises Refused if it cannot be written."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all; raises Refused if it cannot be written."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_text(path: Path, what: str, limit: int = JSON_LIMIT) -> str:
    """A text file's content; raises Refused if it is missing, unreadable, not text or larger than `limit` bytes."""
    try:
        if path.stat().st_size > limit:
            raise Refused(f"{what} {path} is larger than {limit} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read {what} {path}: {getattr(error, 'strerror', None) or 'it is not text'}") from error


def read_json(path: Path, what: str, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """A JSON object; raises Refused if the file is missing, too large, broken or something else."""
    return parse_json(read_text(path, what, limit), f"{what} {path}")


def parse_json(text: str, what: str) -> dict[str, Any]:
    """The JSON object in a text; raises Refused if it is broken or something else."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{what} is broken: {error}") from error
    if not isinstance(content, dict):
        raise Refused(f"{what} is broken: it holds no JSON object")
    return content


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> None:
    """Write tensors and a JSON object about them as one safetensors file, whole or not at all."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # what a person's other files get; safetensors would lock others out
        try:
            save_file(content, temporary, metadata={"about": json.dumps(about or {}, allow_nan=False)})
        except SafetensorError as error:
            raise Refused(f"cannot write {path}: {error}") from error
        temporary.chmod(mode)


def read_tensors(path: Path, what: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A safetensors file's tensors and the JSON object about them; raises Refused if it is missing or broken."""
    try:
        with safe_open(path, framework="pt") as file:
            about = (file.metadata() or {}).get("about", "{}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or (
            "no such file" if not path.exists() else f"it is incomplete or broken ({error})"
        )
        raise Refused(f"cannot read {what} {path}: {reason}") from error
    return tensors, parse_json(about, f"{what} {path}")


def fit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """The tensors, once their names, shapes and dtypes are the expected ones; raises Refused naming what differs."""
    missing, extra = [n for n in expected if n not in tensors], [n for n in tensors if n not in expected]
    if missing:
        raise Refused(
            f"{what} lacks {_some(missing)}" + (f"; it has {extra[0]!r}{near(extra[0], missing)}" if extra else "")
        )
    if extra:
        raise Refused(f"{what} holds {_some(extra)}, which the model does not have")
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


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
