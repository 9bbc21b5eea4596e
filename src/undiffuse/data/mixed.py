"""Tables of words and numbers: which columns are which, and their lines as one array of numbers."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.lines import LARGEST, POINT, Cells, Head, blocks, no_number, ragged, split

MISSING = {"", "?", "na", "n/a", "nan", "null", "none"}  # how programs write that a cell has no value
LOOKED = 1000  # lines from which a table of numbers alone is told
FEW, EACH = 10, 10  # so few whole numbers, each in so many lines on average, are names
MOST, MOST_ASKED = 1000, 10_000  # categories of a column: found, and asked for


class Parsed(Protocol):
    """What turns lines to numbers: of numbers alone, or of mixed columns."""

    def parse(self, lines: list[str]) -> tuple[np.ndarray, list[str]]: ...
    def why(self, line: str) -> str: ...


@dataclass(frozen=True)
class MixedCells:
    """The wanted columns of a mixed table: numbers, and the places of words among their column's categories.

    cells: which columns are wanted. categories: of each of them the names, () of numbers. filled: what stands for a
    missing number, by the place of its column among the wanted ones; behind all columns each has one more, which is 1
    where it was missing.
    """

    cells: Cells
    categories: tuple[tuple[str, ...], ...]
    filled: dict[int, float]

    def parse(self, lines: list[str]) -> tuple[np.ndarray, list[str]]:
        """All lines, (count, columns) as float32, and their labels; ValueError if one of them cannot be read."""
        if any(("_" in line or not line.isascii()) and self.why(line) for line in lines):
            raise ValueError("broken")  # what is a number to Python, but not to tables
        rows = [[cell.strip() for cell in split(line, self.cells.delimiter)] for line in lines]
        label = self.cells.label
        if any(len(row) != self.cells.width for row in rows):
            raise ValueError("ragged")
        labels = [] if label is None else [row[label] for row in rows]
        if "" in labels:
            raise ValueError("no label")
        x = np.empty((len(rows), len(self.categories) + len(self.filled)), np.float32)
        for place, (at, names) in enumerate(zip(self.cells.numbers, self.categories, strict=True)):
            found = [row[at] for row in rows]
            if names:
                number = {name: i for i, name in enumerate(names)}
                x[:, place] = [number[cell] for cell in found]
                continue
            if place in self.filled:
                gone = np.array([is_missing(cell) for cell in found], dtype=bool)
                x[:, len(self.categories) + list(self.filled).index(place)] = gone
                found = [self.filled[place] if missing else cell for cell, missing in zip(found, gone, strict=True)]
            values = np.array(found, np.float64)
            if not (np.abs(values) <= LARGEST).all():
                raise ValueError("not finite")
            x[:, place] = values
        return x, labels

    def why(self, line: str) -> str:
        """What is wrong with a line; "" if nothing is."""
        row = split(line, self.cells.delimiter)
        if len(row) != self.cells.width:
            return ragged(row, self.cells.width)
        for place, (at, names) in enumerate(zip(self.cells.numbers, self.categories, strict=True)):
            cell = row[at].strip()
            if not names and not (place in self.filled and is_missing(cell)) and (wrong := no_number(cell, at)):
                return wrong
        if self.cells.label is not None and not row[self.cells.label].strip():
            return "it has no label"
        return ""


class _Seen:
    """What a column holds: how many cells, words and missing ones, and its different cells while they are few."""

    def __init__(self) -> None:
        self.count = self.words = self.missing = 0
        self.cells: set[str] = set()

    def add(self, cells: Sequence[str]) -> None:
        for cell, count in Counter(cells).items():
            self.count += count
            if is_missing(cell):
                self.missing += count
            elif no_number(cell, 0):
                self.words += count
            if len(self.cells) <= MOST_ASKED:
                self.cells.add(cell)

    @property
    def repeats(self) -> bool:
        """Whether a cell comes twice."""
        return len(self.cells) < self.count

    @property
    def is_text(self) -> bool:
        """Whether most of what is there are words."""
        return 2 * self.words > self.count - self.missing

    @property
    def names(self) -> bool:
        """Whether these are few whole numbers, each of which comes often."""
        whole = all(is_missing(cell) or cell.removeprefix("-").isdecimal() for cell in self.cells)
        return whole and len(self.cells) <= FEW and EACH * len(self.cells) <= self.count


def is_missing(cell: str) -> bool:
    """Whether a cell says that it has no value."""
    return cell.lower() in MISSING


def has_words(path: Path, top: Head, cells: Cells, numeric: Collection[int]) -> bool:
    """Whether one of the wanted columns holds words that come again, as far as the first lines tell; numeric: those
    known to be not.
    """
    seen = _look(path, top, cells, LOOKED)
    looked = zip(cells.numbers, seen, strict=True)
    return any(column.is_text and column.repeats for at, column in looked if at not in numeric)


def named(path: Path, top: Head) -> Head:
    """The first lines of a table of words alone, whose first line names the columns if no word of it comes again."""
    if top.named:
        return top
    every = Cells(top.delimiter, len(top.names), tuple(range(len(top.names))), None)
    number, first = next((at, lines[0]) for at, lines, _ in blocks(path, 0) if lines)
    cells = [cell.strip() for cell in split(first, top.delimiter)]
    if len(set(cells)) < len(cells) or any(is_missing(cell) or not no_number(cell, 0) for cell in cells):
        return top
    below = _look(path, replace(top, skip=number), every, LOOKED)
    if not any(column.repeats for column in below) or any(c in b.cells for c, b in zip(cells, below, strict=True)):
        return top
    return Head(top.delimiter, tuple(cells), True, number)


def mixed_cells(
    path: Path, top: Head, cells: Cells, numeric: Collection[int], categorical: Collection[int], impute: bool
) -> MixedCells:
    """The kinds of the wanted columns, from all lines.

    Words make a column categorical, and so do few whole numbers that come again and again, unless the column is among
    the numeric or categorical ones that are asked for. impute: fill in the median for missing numbers.
    Raises Refused for a column with too many categories, and for one without numbers where some are asked for.
    """
    seen = _look(path, top, cells, None)
    categories: list[tuple[str, ...]] = []
    for at, column in zip(cells.numbers, seen, strict=True):
        asked = at in categorical
        if not asked and (at in numeric or not (column.is_text or column.names)):
            categories.append(())
            continue
        most = MOST_ASKED if asked else MOST
        found = len(column.cells)
        if found > most or (not asked and found > FEW and 2 * found > column.count):
            name, more = top.names[at], "more than " * (found > MOST_ASKED)
            commas = next((f" ({wrong})" for cell in column.cells if (wrong := no_number(cell, 0)).endswith(POINT)), "")
            raise Refused(
                f"{path}: column {name!r} has {more}{min(found, MOST_ASKED):,} different words in "
                f"{column.count:,} lines{commas}, too many to be categories: take other columns with columns=, or name "
                "it in categorical= or numeric="
            )
        categories.append(_ordered(column.cells))
    holes = [i for i, column in enumerate(seen) if impute and not categories[i] and column.missing]
    return MixedCells(cells, tuple(categories), _medians(path, top, cells, holes))


def _look(path: Path, top: Head, cells: Cells, most: int | None) -> list[_Seen]:
    """What the wanted columns hold in the first lines, or in all; lines of another width are left out."""
    seen = [_Seen() for _ in cells.numbers]
    done = 0
    for _, lines, _ in blocks(path, top.skip):
        some = lines if most is None else lines[: most - done]
        rows = [row for row in (split(line, cells.delimiter) for line in some) if len(row) == cells.width]
        for column, at in zip(seen, cells.numbers, strict=True):
            column.add([row[at].strip() for row in rows])
        done += len(some)
        if done == most:
            break
    return seen


def _medians(path: Path, top: Head, cells: Cells, places: Sequence[int]) -> dict[int, float]:
    """The median of what is there, of the wanted columns at these places."""
    values: dict[int, list[float]] = {place: [] for place in places}
    for _, lines, _ in blocks(path, top.skip) if places else ():
        for row in (split(line, cells.delimiter) for line in lines):
            for place in places if len(row) == cells.width else ():
                cell = row[cells.numbers[place]].strip()
                if not is_missing(cell) and not no_number(cell, 0):
                    values[place].append(float(cell))
    empty = next((place for place, found in values.items() if not found), None)
    if empty is not None:
        raise Refused(f"{path}: column {top.names[cells.numbers[empty]]!r} has no number to fill in for missing ones")
    return {place: float(np.median(found)) for place, found in values.items()}


def _ordered(cells: Collection[str]) -> tuple[str, ...]:
    """By size where all are numbers, else in alphabetical order; what is missing first."""
    if any(no_number(cell, 0) and not is_missing(cell) for cell in cells):
        return tuple(sorted(cells))
    return tuple(sorted(cells, key=lambda cell: (-np.inf if is_missing(cell) else float(cell), cell)))
