"""What takes long to make is made by one process, kept in the cache of decoded data, and read by all others."""

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from undiffuse.core.errors import Refused
from undiffuse.data.decoded_cache import Decoded, cache, find, load_items, remember
from undiffuse.data.rows import Items


def made_once(there: Path, make: Callable[[], Decoded], what: str) -> Items:
    """The items in the folder `there`, see `place`, which are made where they are not yet. what: they are, for people.

    A process that is killed leaves nothing there; of several at once one works, and the others wait for it.
    Raises Refused where the cache cannot be written.
    """
    try:
        cache().mkdir(parents=True, exist_ok=True)
        with FileLock(there.with_suffix(".lock")):
            kept = find(there)
            if kept is None:
                kept = remember(there, make(), what)
    except OSError as error:
        raise Refused(f"cannot write into {cache()}: {error.strerror or error}") from error
    return load_items(there, kept)
