"""A run folder belongs to one process at a time."""

from pathlib import Path

from filelock import FileLock, Timeout

from undiffuse.core.errors import Refused

FILE = ".lock"


def run_lock(folder: Path) -> FileLock:
    """Take the run folder until the lock is released or the process ends, however it ends.

    The folder is made if it is not there. Raises Refused if another process has it, or if it cannot be made.
    """
    path = folder / FILE
    if path.is_symlink():
        raise Refused(f"{path} is a link, and a run's files lie in its own folder: remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, blocking=False)
        lock.acquire()
    except Timeout:
        raise Refused(
            f"another process is training in {folder}: wait for it, stop it, or choose another folder with --out"
        ) from None
    except OSError as error:
        raise Refused(f"cannot write into {folder}: {error.strerror or error}") from error
    return lock


def abandon(folder: Path, lock: FileLock) -> None:
    """Release the lock; a folder that holds nothing else goes with it."""
    lock.release()
    (folder / FILE).unlink(missing_ok=True)
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
