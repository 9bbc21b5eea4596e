"""Where a command writes: asked before the work starts, so that an hour of it is never lost to a path."""

import os
import stat
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from undiffuse.core.errors import Refused

STDOUT = Path("-")
NAMES = {
    "-",
    "/dev/stdout",
    "/dev/fd/1",
    "/proc/self/fd/1",
}  # of the same thing; what links lead to is not written over


def file(asked: Path | None, home: Path, name: str, suffixes: Sequence[str] = ()) -> Path:
    """The file to write: the one asked for, or `name` inside it if it is a folder (there already, or without a suffix),
    or `name` inside `home`; STDOUT for `-` and /dev/stdout.

    suffixes: that the file may have, the first of them `name`'s own if none are given. Raises Refused for another
    suffix, and if the place cannot be written.
    """
    if asked is not None and (str(asked) in NAMES or is_stream(asked)):
        return STDOUT if str(asked) in NAMES else asked
    may = suffixes or [Path(name).suffix]
    inside = asked is not None and (asked.is_dir() or (not asked.suffix and not asked.exists()))
    home = home.parent if home.is_file() else home  # of a run that is named by its model's file
    target = home / name if asked is None else asked / name if inside else asked
    if target.suffix.lower() not in may:
        raise Refused(f"cannot write {target}: what was asked for is a {' or '.join(may)} file")
    if target.is_dir():
        raise Refused(f"cannot write {target}: there is a folder of that name")
    writable(target)
    return target


def folder(asked: Path | None, home: Path, name: str) -> Path:
    """The folder to write into: the one asked for, or `name` inside `home`; raises Refused if it cannot be written."""
    target = asked or (home.parent if home.is_file() else home) / name
    if str(target) in NAMES or is_stream(target):
        raise Refused(f"cannot write one file an image to {target}: name a folder")
    if target.exists() and not target.is_dir():
        raise Refused(f"cannot write into {target}: it is a file, and one file an image needs a folder")
    writable(target / "0.png")
    return target


def writable(target: Path) -> None:
    """Raises Refused unless a file can be made there, or in the nearest folder above; leaves nothing behind."""
    above = next(parent for parent in target.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise Refused(f"cannot write {target}: {error.strerror or error}") from error


def is_stream(path: Path) -> bool:
    """Whether there is a device, such as /dev/null, or a pipe, which is written to and never replaced."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def suffix(asked: Path | None) -> str:
    """What the file's name ends with; "" for a folder, the standard output and devices, which say no format."""
    named = asked is not None and str(asked) not in NAMES and not asked.is_dir() and not is_stream(asked)
    return asked.suffix.lower() if asked is not None and named else ""


def put(target: Path, content: bytes) -> None:
    """Write a file, whole or not at all, or to the standard output or a device.

    Raises Refused for what is no text on a terminal, and if it cannot be written.
    """
    if target == STDOUT:
        if sys.__stdout__ is None:
            raise Refused("the standard output is closed: name a file with -o")
        _refuse_terminal(content)
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    elif is_stream(target):
        try:
            with target.open("wb") as stream:
                stream.write(content)
        except OSError as error:
            raise Refused(f"cannot write {target}: {error.strerror or error}") from error
    else:
        from undiffuse.storage.files import write_bytes

        write_bytes(target, content)


def _refuse_terminal(content: bytes) -> None:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        if sys.stdout.isatty():
            raise Refused("a terminal shows text, and this is none: write it to a file, or into a pipe") from None
