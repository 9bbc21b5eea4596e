"""Where the pictures of a sheet lie, and the words beside them: grids, one class a row, captions, strips."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from undiffuse.pictures.letters import folded, font, shortened

Size = tuple[int, int]
Word = tuple[int, int, str]  # left, top, text

SIDE = 64  # a picture is shown with at least so many pixels a side, enlarged by a whole factor
FEW, LARGEST = 512, 256  # few small pictures are larger: about so many pixels a row, and at most so many each
LETTERS, LINE = 13, 17  # pixels of a letter and of a line of words
NAME, CAPTION, LINES, HEAD = 150, 112, 2, 3  # widest name beside a row, narrowest caption, lines of one and of a head
WIDEST = 40  # pictures or classes side by side, where there are many
ASPECT = 1.1  # width by height that a sheet comes near


@dataclass(frozen=True)
class Layout:
    """size: of the sheet in pixels, (width, height), as all places are (left, top). tiles: of each picture, in the
    order of the pictures. scale: how many times a picture is enlarged. words: beside them, in letters of LETTERS.
    """

    size: Size
    scale: int
    tiles: tuple[Size, ...]
    words: tuple[Word, ...] = ()

    def headed(self, text: str) -> "Layout":
        """The same below a head."""
        wide = max(self.size[0], round(min(2 * NAME, font(LETTERS).getlength(text) + 8)))
        lines = folded(text, wide - 8, LETTERS, HEAD)
        down = 4 + LINE * len(lines)
        return replace(
            self,
            size=(wide, self.size[1] + down),
            tiles=tuple((x, y + down) for x, y in self.tiles),
            words=(*((4, 3 + LINE * i, line) for i, line in enumerate(lines)), *_moved(self.words, down)),
        )


def scale_of(side: Size, across: int) -> int:
    """The whole factor by which pictures of (height, width) are enlarged, so many in a row."""
    longest = max(side)
    if longest > 2 * SIDE:
        return 1
    return max(1, -(-SIDE // longest), min(LARGEST, FEW // across) // longest)


def gap_of(side: Size, scale: int) -> int:
    """Pixels of background between pictures."""
    return max(2, scale * max(side) // 32)


def plain(n: int, side: Size, columns: int | None = None, scale: int | None = None, gap: int | None = None) -> Layout:
    """n pictures row by row, `columns` in a row; None: so many that the sheet is about square."""

    def grid(across: int) -> Layout:
        times, (high, wide) = scale or scale_of(side, across), side
        between = gap_of(side, times) if gap is None else gap
        if n == 1 and gap is None:
            between = 0
        step = high * times + between, wide * times + between
        tiles = [(between + i % across * step[1], between + i // across * step[0]) for i in range(n)]
        return Layout((between + across * step[1], between + -(-n // across) * step[0]), times, tuple(tiles))

    return grid(min(n, columns)) if columns else _best(grid, _near(n, side), side)


def classed(labels: Sequence[int], names: Sequence[str], side: Size, scale: int | None = None) -> Layout:
    """One class a row, its name on the left; several rows where there are many of it, and small ones side by side.

    labels: of each picture, a place among the names. Classes without a picture take no place.
    """
    groups = [(name, [i for i, label in enumerate(labels) if label == c]) for c, name in enumerate(names)]
    groups = [(name, members) for name, members in groups if members]
    most = max(len(members) for _, members in groups)

    def blocks(shape: tuple[int, int]) -> Layout:
        """Blocks of so many pictures a row, so many blocks side by side."""
        width, across = shape
        times, (high, wide) = scale or scale_of(side, width * across), side
        between = gap_of(side, times)
        words = [shortened(name, NAME, LETTERS) for name, _ in groups]
        indent = max(round(font(LETTERS).getlength(word)) for word in words) + 10
        step = high * times + between, wide * times + between
        whole = indent + width * step[1] + between
        tiles, said = dict[int, Size](), list[Word]()
        top = between
        for first in range(0, len(groups), across):
            row = groups[first : first + across]
            for column, (_, members) in enumerate(row):
                left = column * whole
                said.append((left + 5, top + max(0, high * times - LINE) // 2, words[first + column]))
                for j, i in enumerate(members):
                    tiles[i] = left + indent + j % width * step[1], top + j // width * step[0]
            top += max(-(-len(members) // width) for _, members in row) * step[0]
        return Layout((across * whole, top), times, tuple(tiles[i] for i in range(len(labels))), tuple(said))

    beside = [(most, across) for across in range(1, min(len(groups), WIDEST) + 1)]
    return _best(blocks, [*beside, *((width, 1) for width in range(1, min(most, WIDEST)))], side)


def captioned(captions: Sequence[str], side: Size, columns: int | None = None, scale: int | None = None) -> Layout:
    """Pictures row by row, each above its caption."""
    n = len(captions)

    def grid(across: int) -> Layout:
        times = scale or max(scale_of(side, across), -(-CAPTION // side[1]) if max(side) <= 2 * SIDE else 1)
        high, wide, between = side[0] * times, side[1] * times, max(8, gap_of(side, times))
        lines = [folded(caption, wide, LETTERS, LINES) for caption in captions]
        below = 4 + LINE * max(1, *map(len, lines)) if len(lines) > 1 else 4 + LINE * len(lines[0])
        step = high + below + between, wide + between
        tiles = [(between + i % across * step[1], between + i // across * step[0]) for i in range(n)]
        said = [
            (left, top + high + 3 + LINE * j, line)
            for (left, top), folds in zip(tiles, lines, strict=True)
            for j, line in enumerate(folds)
        ]
        return Layout(
            (between + across * step[1], between + -(-n // across) * step[0]), times, tuple(tiles), tuple(said)
        )

    return grid(min(n, columns)) if columns else _best(grid, _near(n, side), side)


def stripped(
    rows: int, side: Size, heads: Sequence[str], names: Sequence[str] = (), scale: int | None = None
) -> Layout:
    """Rows of as many pictures as there are heads, each head above its column; names: beside the rows."""
    times, (high, wide) = scale or scale_of(side, len(heads)), side
    between = gap_of(side, times)
    words = [shortened(name, NAME, LETTERS) for name in names]
    indent = max((round(font(LETTERS).getlength(word)) + 10 for word in words), default=between)
    above = LINE + 4 if any(heads) else between
    step = high * times + between, wide * times + between
    tiles = [(indent + j * step[1], above + i * step[0]) for i in range(rows) for j in range(len(heads))]
    said = [(indent + j * step[1], 3, shortened(head, step[1], LETTERS)) for j, head in enumerate(heads) if head]
    said += [(5, above + i * step[0] + max(0, high * times - LINE) // 2, word) for i, word in enumerate(words)]
    return Layout((indent + len(heads) * step[1], above + rows * step[0]), times, tuple(tiles), tuple(said))


def _near(n: int, side: Size) -> Sequence[int]:
    """Numbers of columns with which n pictures may be about square."""
    about = round(math.sqrt(n * ASPECT * side[0] / side[1]))
    return range(min(n, max(1, about - 2)), min(n, about + 2) + 1)


def _best(made: Callable[[Any], Layout], shapes: Sequence[Any], side: Size) -> Layout:
    """The layout that is nearest to ASPECT and has the least of the sheet empty, the wider of equals."""

    def off(layout: Layout) -> tuple[float, int]:
        width, height = layout.size
        covered = len(layout.tiles) * side[0] * side[1] * layout.scale**2 / (width * height)
        return round(abs(math.log(width / height / ASPECT)) + 2 * (1 - covered), 6), -width

    return min(map(made, shapes), key=off)


def _moved(words: Sequence[Word], down: int) -> list[Word]:
    return [(x, y + down, text) for x, y, text in words]
