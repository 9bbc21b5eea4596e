"""Where a command writes: asked before the work starts, so that an hour of it is never lost to a path."""

import tempfile
from pathlib import Path

from undiffuse.core.errors import Refused


def file(asked: Path | None, home: Path, name: str) -> Path:
    """The file to write: the one asked for, or `name` inside it if it is a folder, or `name` inside `home`.

    Raises Refused for another suffix than `name` has, and if the place cannot be written.
    """
    suffix = Path(name).suffix
    target = home / name if asked is None else asked / name if asked.is_dir() else asked
    if target.suffix.lower() != suffix:
        raise Refused(f"cannot write {target}: what was asked for is a {suffix} file")
    if target.is_dir():
        raise Refused(f"cannot write {target}: there is a folder of that name")
    writable(target)
    return target


def folder(asked: Path | None, home: Path, name: str) -> Path:
    """The folder to write into: the one asked for, or `name` inside `home`; raises Refused if it cannot be written."""
    target = asked or home / name
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
