"""The files below a folder: links are followed, and every folder is read once, wherever links lead."""

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

HIDDEN = (".", "__MACOSX")


@dataclass(frozen=True)
class Walked:
    """files: all that are not hidden, relative to the folder, sorted. skipped: folders that were not read, and why."""

    files: list[PurePosixPath] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def walk(root: Path) -> Walked:
    """All files below a folder.

    A folder that a link leads to counts as the link is called, unless it lies below `root` itself, or above it: then
    it is skipped, so that no loop of links is walked twice.
    """
    found = Walked()
    real, linked = [PurePosixPath()], list[PurePosixPath]()
    seen = {_identity(above): "a folder above" for above in root.resolve().parents}
    while real or linked:
        folder = real.pop() if real else linked.pop(0)
        try:
            identity = _identity(root / folder)
            if identity in seen:
                found.skipped[str(folder)] = f"the same folder as {seen[identity]}"
                continue
            seen[identity] = str(folder)
            with os.scandir(root / folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.name.startswith(HIDDEN):
                        continue
                    kind = real if entry.is_dir(follow_symlinks=False) else linked if _leads(entry) else found.files
                    kind.append(folder / entry.name)
        except OSError as error:
            found.skipped[str(folder)] = error.strerror or str(error)
    found.files.sort()
    return found


def same(name: str) -> str:
    """One spelling for names that look alike: an accent may be a part of its letter (NFC) or stand behind it (NFD)."""
    return unicodedata.normalize("NFC", name)


def _leads(entry: os.DirEntry[str]) -> bool:
    """Whether a link leads to a folder; one that leads to itself leads nowhere."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino
