"""What every command shares: where it prints, its progress bar, and how long something took."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """Where to print: text that is piped away is not coloured, and not cut at 80 columns."""
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=200)


@contextmanager
def progress(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Yields `advance(done, total)`: a bar on stderr with rate and time left, for work of more than a second."""
    from tqdm import tqdm

    with tqdm(desc=title, unit=unit, delay=1) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


def tell(text: str) -> None:
    """Print what was done to stderr, so that the standard output is data alone."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)  # never inside a bar


def duration(seconds: float) -> str:
    """`8.4 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def count(number: float) -> str:
    """`1,240,067`."""
    return f"{number:,.0f}"
