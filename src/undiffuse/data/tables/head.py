"""What the first lines of a table say: how cells are parted, and whether the first line names the columns."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from undiffuse.core.errors import Refused
from undiffuse.data.tables.csv_reader import OPEN, blank, cut, delimiter_of, texts
from undiffuse.data.tables.kinds import is_date, is_missing, number

Header = Literal["auto", "yes", "no"]
LOOKED, CELLS = 1000, 200_000  # so many lines, and cells, are looked at
LETTERS = 2**20  # and so many letters, unless a row is longer
YEARS = range(1800, 2200)


@dataclass(frozen=True)
class TableHead:
    """The delimiter, the columns' names (numbers where there are none), and up to which line they go.

    first: the cells of the first line where it is an item and nobody said so. guessed: all names are numbers, and
    nobody said that they are names. spaced: each delimiter has a space behind it. alone: the file has one column.
    """

    delimiter: str
    names: tuple[str, ...]
    named: bool
    skip: int
    first: tuple[str, ...] = ()
    guessed: bool = False
    spaced: bool = False


def head(path: Path, encoding: str, header: Header, asked: Collection[str] = ()) -> TableHead:
    """The first lines of a file; asked: names of columns that a person has given.

    Raises Refused for a file that is empty or no text, and for columns of equal names.
    """
    lines, start, whole = _first(path, encoding)
    if not any(line.strip() for line in lines):
        raise Refused(f"{path} is empty")
    delimiter = delimiter_of(lines, whole)
    found = [
        (start + place + count - 1, row)
        for place, count, row in cut(lines, delimiter, last=whole)
        if count > 1 or lines[place].strip(blank(delimiter))
    ]
    number_of, first = found[0]
    if not first:
        raise Refused(f"{path}: line {number_of} cannot be read ({OPEN}): {lines[number_of - start][:80]}")
    width = len(first)
    below = [row for _, row in found[1 : 1 + max(20, min(LOOKED, CELLS // width))] if len(row) == width]
    spaced = width > 1 and all(cell.startswith(" ") for row in (first, *below) for cell in row[1:] if cell)
    rows = [[cell.strip() for cell in row] for row in (first, *below)]
    named, guessed = _named(rows, header, asked, comma=delimiter != ",")
    if not named:
        first = tuple(rows[0]) if header == "auto" else ()
        return TableHead(delimiter, tuple(map(str, range(width))), False, 0, first, spaced=spaced)
    names = tuple(cell or f"column{i}" for i, cell in enumerate(rows[0]))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Refused(f"{path} has several columns called {twice!r}: give each its own name")
    return TableHead(delimiter, names, True, number_of, guessed=guessed, spaced=spaced)


def _first(path: Path, encoding: str) -> tuple[list[str], int, bool]:
    """The first lines, the number of the first of them, and whether they are all."""
    lines: list[str] = []
    for _, text, _, last in texts(path, encoding):
        lines += text[:LETTERS].split("\n") if not lines and len(text) > LETTERS else text.split("\n")
        filled = sum(1 for line in lines[: 2 * LOOKED] if line.strip())
        if last or (filled > 1 and sum(map(len, lines)) >= LETTERS) or filled > LOOKED:
            more = not last or len(lines) > 2 * LOOKED or len(text) > LETTERS
            return lines[: 2 * LOOKED], 1, not more
    return lines, 1, True


def _named(rows: list[list[str]], header: Header, asked: Collection[str], comma: bool) -> tuple[bool, bool]:
    """Whether the first row names the columns, and whether that is a guess about numbers alone."""
    if header != "auto":
        return header == "yes", False
    first, below = rows[0], rows[1:]
    if set(asked) & {cell for cell in first if number(cell, comma) is None}:
        return True, False
    if not below:
        return any(cell and number(cell, comma) is None for cell in first), False
    columns = [_Column.of(cell, [row[i] for row in below], comma) for i, cell in enumerate(first)]
    if any(column.names_numbers for column in columns):
        return True, False
    filled = [cell for i, cell in enumerate(first) if cell or i]
    if "" in filled or len(set(filled)) < len(filled) or first in below:
        return False, False
    words = [column for column in columns if column.words]
    numbers = [column for column in columns if column.value is not None]
    if any(column.again for column in words) or (words and not any(column.repeats for column in words)):
        return False, False
    counted = _counted([column.cell for column in numbers], below, columns)
    odd = bool(numbers) and all(column.odd for column in numbers)
    if words:
        return not numbers or odd or counted > 0, False
    return len(first) > 1 and (counted > 1 or (counted == 1 and odd)), True


def _counted(cells: list[str], below: list[list[str]], columns: "list[_Column]") -> int:
    """Whether numbers of the first row count columns: 0 no, 1 perhaps, 2 surely, as 0, 1, 2 ... or years do.

    Not where the rows below count, too.
    """
    if len(cells) < 2 or not all(re.fullmatch("0|[1-9][0-9]*", cell) for cell in cells):
        return 0
    values = [int(cell) for cell in cells]
    steps = {b - a for a, b in pairwise(values)}
    if len(steps) > 1 or min(steps) < 1:
        return 0
    places = [i for i, column in enumerate(columns) if column.value is not None]
    gaps = [{_gap(row[a], row[b]) for a, b in pairwise(places)} for row in below[:20]]
    if len(cells) > 2 and any(gap == steps for gap in gaps):
        return 0
    return 2 if steps == {1} and (values[0] == 0 or (len(cells) > 2 and set(values) <= set(YEARS))) else 1


def _gap(a: str, b: str) -> float | None:
    low, high = number(a), number(b)
    return None if low is None or high is None else high - low


@dataclass(frozen=True)
class _Column:
    """A column's first cell beside those below it.

    names_numbers: it is a word above numbers or dates. words: a word above words. again: it comes once more below.
    repeats: other cells come more than once. value: a number above numbers; odd: far from all of them, or whole above
    decimals.
    """

    cell: str
    names_numbers: bool = False
    words: bool = False
    again: bool = False
    repeats: bool = False
    value: float | None = None
    odd: bool = False

    @classmethod
    def of(cls, cell: str, below: list[str], comma: bool) -> "_Column":
        there = [each for each in below if not is_missing(each)]
        values = [value for each in there if (value := number(each, comma)) is not None]
        value = number(cell, comma)
        plain = 2 * len(values) > len(there) or (there and 2 * sum(map(is_date, there)) > len(there))
        if plain:
            names = value is None and not is_missing(cell) and not is_date(cell)
            if names or value is None or not values:
                return cls(cell, names_numbers=names)
            wide, least, most = max(values) - min(values), min(values), max(values)
            apart = max(least - value, value - most)
            whole = value == int(value) and "." not in cell
            broken = any(each != int(each) for each in values)
            odd = whole and len(values) > 2 and (broken or apart > max(wide, 1))
            return cls(cell, value=value, odd=odd)
        if value is not None:
            return cls(cell, value=value, odd=True)  # a number above words
        return cls(cell, words=bool(cell), again=cell in below, repeats=len(set(below)) < len(below))
