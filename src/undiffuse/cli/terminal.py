"""What every command shares: where it prints, its progress bar, and how it writes numbers."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from undiffuse.progress import progress_bar

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
    with progress_bar(desc=title, unit=unit, delay=1) as moving:

        def advance(done: int, total: int) -> None:
            moving.total = total
            moving.update(done - moving.n)

        yield advance


def tell(text: str) -> None:
    """Print what was done to stderr, so that the standard output is data alone."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)  # never inside a bar


def count(number: float) -> str:
    """`1,240,067`."""
    return f"{number:,.0f}"
