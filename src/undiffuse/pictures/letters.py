"""Words on pictures: a font that knows most scripts, and words that are folded or shortened to a width."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from PIL import ImageFont

INK = "#334155"
SANS, MONO = "DejaVuSans.ttf", "DejaVuSansMono.ttf"


@cache
def font(size: int, file: str = SANS) -> ImageFont.FreeTypeFont:
    """A font of this size in pixels; the files come with matplotlib."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", file)), size)


def shortened(text: str, width: int, size: int) -> str:
    """The text on one line, its end cut off where it is wider than so many pixels."""
    text, length = _plain(text), font(size).getlength
    if length(text) <= width:
        return text
    return text[: _most(text, lambda part: length(part + "…") <= width)].rstrip() + "…"


def folded(text: str, width: int, size: int, most: int) -> list[str]:
    """The text on up to `most` lines of so many pixels, cut between words where that is possible."""
    rest, length, found = _plain(text), font(size).getlength, list[str]()
    while rest and len(found) < most - 1 and length(rest) > width:
        end = max(1, _most(rest, lambda part: length(part) <= width))
        end = rest.rfind(" ", 1, end + 1) if " " in rest[1 : end + 1] else end
        found.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*found, shortened(rest, width, size)] if rest else found


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _most(text: str, fits: Callable[[str], bool]) -> int:
    """How many letters from the start fit."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(text[:middle]) else (low, middle - 1)
    return low
