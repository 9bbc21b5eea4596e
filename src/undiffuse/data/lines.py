"""Lines of text to numbers, many at a time: quickly where all is well, one by one where something is not."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from undiffuse.core.errors import Refused

DELIMITERS = (",", ";", "\t")
BLOCK = 2**24  # bytes that are parsed at once
LONGEST = 2**24  # bytes of a line
LARGEST = float(np.finfo(np.float32).max)
MARK = b"\xef\xbb\xbf"  # what some programs write before text
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # what UTF-16 begins with
OPEN = "its quote stays open: a cell with a line break inside is not read"
POINT = ": a number has no comma, and its decimals a point"


@dataclass(frozen=True)
class Head:
    """What the first lines say: the delimiter, the columns' names (numbers where there are none), lines to skip."""

    delimiter: str
    names: tuple[str, ...]
    named: bool
    skip: int


@dataclass(frozen=True)
class Cells:
    """Which cells of a line are wanted: `numbers` of `width`, and `label`."""

    delimiter: str
    width: int
    numbers: tuple[int, ...]
    label: int | None

    def parse(self, lines: list[str]) -> tuple[np.ndarray, list[str]]:
        """The numbers of all lines, (count, features) as float32, and their labels; ValueError if one has none."""
        if not lines:
            return np.empty((0, len(self.numbers)), np.float32), []
        if any('"' in line for line in lines):
            return self._careful(lines)
        between = self.width - 1
        if any(line.count(self.delimiter) != between for line in lines):
            raise ValueError("ragged")
        labels = [] if self.label is None else self._labels(lines)
        whole = self.numbers == tuple(range(self.width))
        x = np.loadtxt(
            lines,
            np.float64,
            comments=None,
            delimiter=self.delimiter,
            usecols=None if whole else self.numbers,
            ndmin=2,
        )
        return _fitting(x), labels

    def why(self, line: str) -> str:
        """What is wrong with a line that holds no numbers; "" if nothing is."""
        row = split(line, self.delimiter)
        if len(row) != self.width:
            return ragged(row, self.width)
        wrong = next(filter(None, (no_number(row[i].strip(), i) for i in self.numbers)), "")
        if not wrong and self.label is not None and not row[self.label].strip():
            return "it has no label"
        return wrong

    def _labels(self, lines: list[str]) -> list[str]:
        at = self.label or 0
        labels = [line.split(self.delimiter, at + 1)[at].strip() for line in lines]
        if "" in labels:
            raise ValueError("no label")
        return labels

    def _careful(self, lines: list[str]) -> tuple[np.ndarray, list[str]]:
        """The same for lines with quoted cells."""
        rows = [split(line, self.delimiter) for line in lines]
        if any(len(row) != self.width for row in rows):
            raise ValueError("ragged")
        labels = [] if self.label is None else [row[self.label].strip() for row in rows]
        if "" in labels:
            raise ValueError("no label")
        return _fitting(np.array([[float(row[i]) for i in self.numbers] for row in rows])), labels


def head(path: Path) -> Head:
    """The delimiter and the columns' names; raises Refused for a file that is empty or no text, and for equal names.

    The first line names the columns if it holds more words than the second one.
    """
    every = ((number + i, line) for number, lines, _ in blocks(path, 0) for i, line in enumerate(lines))
    found = list(islice(every, 2))
    if not found:
        raise Refused(f"{path} is empty")
    first = found[0][1]
    counts = {mark: first.count(mark) for mark in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda mark: counts[mark])
    cells = [cell.strip() for cell in split(first, delimiter)]
    if not cells:
        raise Refused(f"{path}: line {found[0][0]} cannot be read ({OPEN}): {first[:80]}")
    below = [cell.strip() for cell in split(found[1][1], delimiter)] if len(found) > 1 else []
    if _words(cells) <= _words(below) and below:
        return Head(delimiter, tuple(map(str, range(len(cells)))), False, 0)
    if not below and not _words(cells):
        return Head(delimiter, tuple(map(str, range(len(cells)))), False, 0)
    names = tuple(cell or f"column{i}" for i, cell in enumerate(cells))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Refused(f"{path} has several columns called {twice!r}: give each its own name")
    return Head(delimiter, names, True, found[0][0])


def blocks(path: Path, skip: int) -> Iterator[tuple[int, list[str], int]]:
    """(number of the first line, lines, bytes) of one part of the file after the other; empty lines are left out.

    Numbers count from 1, as editors do; a part with empty lines is cut there, so that they stay right.
    """
    number = 1
    with path.open("rb") as file:
        rest = file.read(len(MARK))
        rest = b"" if rest == MARK else rest
        while True:
            data = file.read(BLOCK)
            text = rest + data
            cut = text.rfind(b"\n") + 1 if data else len(text)
            rest, text = text[cut:], text[:cut]
            _refuse_long(path, len(rest), number)
            lines = _ended(_text(path, text, number)).split("\n") if text else []
            yield from _numbered(lines, number, skip, len(data))
            number += len(lines)
            if not data:
                return


def ragged(row: list[str], width: int) -> str:
    """What is wrong with a line of another number of cells."""
    return f"{len(row)} cell{'s' * (len(row) != 1)} instead of {width}" if row else OPEN


def no_number(cell: str, at: int) -> str:
    """What keeps a cell, the one at this place from 0, from being a number; "" if it is one."""
    if not cell:
        return f"cell {at + 1} is empty"
    try:
        value = float(cell)
    except ValueError:
        return f"{cell[:20]!r} is no number" + POINT * _is_number(cell.replace(",", ""))
    if "_" in cell or not cell.isascii():  # numbers to Python, but not to tables
        return f"{cell[:20]!r} is no number"
    return "" if abs(value) <= LARGEST else f"{cell[:20]} is not finite in float32"


def split(line: str, delimiter: str) -> list[str]:
    """The cells of a line; quotes hold a cell together. None at all of a line that ends within quotes."""
    if '"' not in line:
        return line.split(delimiter)
    reader = csv.reader([line, ""], delimiter=delimiter)
    try:
        row = next(reader)
        return row if reader.line_num == 1 else []
    except csv.Error:
        return [line]


def _fitting(x: np.ndarray) -> np.ndarray:
    """x as float32; raises ValueError for what is not finite there."""
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise ValueError("not finite")
    return x


def _words(cells: list[str]) -> int:
    """How many cells hold text that is no number."""
    return sum(1 for cell in cells if cell and not _is_number(cell))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbered(lines: list[str], number: int, skip: int, size: int) -> Iterator[tuple[int, list[str], int]]:
    part: list[str] = []
    for i, line in enumerate(lines):
        if line.strip() and number + i > skip:
            part.append(line)
            continue
        if part:
            yield number + i - len(part), part, 0
        part = []
    yield number + len(lines) - len(part), part, size


def _text(path: Path, data: bytes, number: int) -> str:
    if data.startswith(UTF_16) and number == 1:
        raise Refused(f"{path} is UTF-16 text: save it as UTF-8")
    if b"\0" in data:
        raise Refused(f"{path} is no text: it has zero bytes near line {number}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = number + data[: error.start].count(10)
        raise Refused(f"{path} is not UTF-8 text near line {line}: save it as UTF-8") from None


def _ended(text: str) -> str:
    """The text with the same end behind every line but the last, whichever system wrote it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")


def _refuse_long(path: Path, length: int, number: int) -> None:
    if length > LONGEST:
        raise Refused(f"{path} has more than {LONGEST} bytes in a line near line {number}: is it a table?")
