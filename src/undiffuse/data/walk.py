"""The files below a folder: links are followed, and every folder is read once, wherever links lead."""

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

HIDDEN = (".", "__MACOSX")


@dataclass(frozen=True)
class Walked:
    """files: all that are not hidden, relative to the folder, with / between their parts, sorted by these. skipped:
    folders that were not read, and why.
    """

    files: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def walk(root: Path) -> Walked:
    """All files below a folder.

    A folder that a link leads to counts as the link is called, unless it lies below `root` itself, or above it: then
    it is skipped, so that no loop of links is walked twice.
    """
    found = Walked()
    real, linked = [""], list[str]()
    seen = {_identity(above): "a folder above" for above in root.resolve().parents}
    while real or linked:
        folder = real.pop() if real else linked.pop(0)
        try:
            identity = _identity(root / folder)
            if identity in seen:
                found.skipped[folder] = f"the same folder as {seen[identity]}"
                continue
            seen[identity] = folder or str(root)
            with os.scandir(root / folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.name.startswith(HIDDEN):
                        continue
                    kind = real if entry.is_dir(follow_symlinks=False) else linked if _leads(entry) else found.files
                    kind.append(f"{folder}/{entry.name}" if folder else entry.name)
        except OSError as error:
            found.skipped[folder or str(root)] = error.strerror or str(error)
    found.files.sort(key=lambda file: file.split("/"))
    return found


def ending(file: str) -> str:
    """`.png` of photos/a.PNG"""
    return os.path.splitext(file)[1].lower()


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
