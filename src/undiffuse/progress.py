"""Progress display: bars on a terminal and in a notebook, plain lines elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

Advance = Callable[[int, int], None]  # called with (done, total)
Progress = bool | Advance  # whether to show a bar, or what is called instead
LOGGER = logging.getLogger("undiffuse")
DELAY, SHARE = 2.0, 0.1  # seconds before the first line where there is no terminal; of the time gone, before the next
PLAIN = "{desc}: {percentage:.0f}%, {n_fmt} of {total_fmt}, {elapsed} gone, {remaining} left"


def watched(stream: TextIO | None = None) -> bool:
    """Whether the stream (default: stderr) can show a moving bar, as a terminal or a notebook can."""
    from tqdm import auto

    notebook = any(kind.__module__ == "tqdm.notebook" for kind in auto.tqdm.__mro__)
    return notebook or (sys.stderr if stream is None else stream).isatty()


def progress_bar(items: Iterable[Any] | None = None, **how: Any) -> Any:
    """A tqdm.auto bar on stderr, with its options; without a terminal it prints lines, the first after DELAY."""
    from tqdm import auto

    if not watched():
        how |= {"file": Lines(sys.stderr), "bar_format": PLAIN, "delay": max(DELAY, how.get("delay", 0.0))}
    return auto.tqdm(items, **how)


class Lines:
    """A stream that prints the states of a bar as lines, less often the longer it takes, and always the last one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = self._due = time.monotonic()
        self._held = self._last = ""

    def write(self, text: str) -> None:
        """Print the text as a line if one is due; at the end of a bar the last line is always printed."""
        said = text.replace("\r", "").replace("\x1b[A", "").strip()
        self._held = said or self._held
        now = time.monotonic()
        if self._held and (now >= self._due if said else "\n" in text):
            if self._held != self._last:  # a bar that closes says again what it said at its end
                self._stream.write(f"{self._held}\n")
            self._last = self._held
            self._held, self._due = "", now + max(DELAY, SHARE * (now - self._began))

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


class Above(logging.Handler):
    """Prints log messages on stderr above the bars."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


@contextmanager
def messages() -> Iterator[None]:
    """Within this context the library's log messages go to stderr, unless the user has a handler of their own."""
    own = [h for h in [*LOGGER.handlers, *logging.getLogger().handlers] if isinstance(h, logging.StreamHandler | Above)]
    if any(isinstance(h, Above) or h.stream in (sys.stdout, sys.stderr) for h in own):
        yield
        return
    handler, level = Above(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def duration(seconds: float) -> str:
    """`8.4 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
