"""What a person did that cannot be done, said in one or two lines."""

from collections.abc import Iterable
from difflib import get_close_matches


class Refused(ValueError):  # noqa: N818 - named after what happens: the request is refused
    """The request is meaningless or impossible; the message says what was asked, given and possible."""


def near(word: str, words: Iterable[str]) -> str:
    """A hint at the nearest known name: " (did you mean 'ddim'?)", or nothing."""
    close = get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def some(names: Iterable[str], most: int) -> str:
    """The first names, at most so many, and how many there are besides."""
    each = list(names)
    return ", ".join(each[:most]) + (f" and {len(each) - most} more" if len(each) > most else "")


def unknown(owner: str, word: str, words: Iterable[str], also: Iterable[str] = ()) -> Refused:
    """The error for a name that `owner` does not have: names the nearest and lists them all, but those in `also`."""
    known = sorted(words)
    return Refused(f"{owner} has no {word!r}{near(word, [*known, *also])}; it has: {', '.join(known) or 'none'}")
