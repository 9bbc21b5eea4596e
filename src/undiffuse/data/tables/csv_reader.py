"""A table's file as cells of text, many lines at a time: whatever delimiter, quotes, line ends and encoding it has."""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from undiffuse.core.errors import Refused

if TYPE_CHECKING:
    from polars import DataFrame, Series

DELIMITERS = "\t;|,"  # the last is that which the others' cells may hold
BLOCK = 2**22  # bytes that are read at once
LONGEST = 2**24  # letters of a line
UTF_8, SIGNED = "utf-8", "utf-8-sig"  # the second takes the mark that some programs write before text
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # what UTF-16 begins with
OPEN = "its quote stays open"


@dataclass(frozen=True)
class Wrong:
    """A line that cannot be read: its number from 1, what it holds, and why."""

    number: int
    line: str
    why: str


@dataclass(frozen=True, eq=False)
class LineBlock:
    """Some lines' cells as text, a column each.

    numbers: of the lines, from 1; texts: the lines themselves; wrong: those that are no row of so many cells; size:
    bytes that were read.
    """

    cells: "DataFrame"
    numbers: np.ndarray
    texts: "Series"
    wrong: list[Wrong] = field(default_factory=list)
    size: int = 0


def blocks(
    path: Path, encoding: str, delimiter: str, width: int, skip: int = 0, spaced: bool = False
) -> Iterator[LineBlock]:
    """The rows of a file, part by part; quotes hold a cell together, over the ends of lines too.

    skip: leave out lines up to this number. spaced: a space behind each delimiter is no part of a cell. Empty lines are
    left out.
    """
    import polars as pl

    rest: list[str] = []  # lines of a quoted cell that the next part ends
    for first, text, size, last in texts(path, encoding):
        if '"' in text or rest:
            lines = text.split("\n") if text else []
            block, rest = _quoted(rest + lines, first - len(rest), delimiter, width, skip, size, last)
        else:
            lines = pl.Series([text]).str.split("\n").explode() if text else pl.Series([], dtype=pl.String)
            block = _plain(lines, first, delimiter, width, skip, size)
        if spaced:
            yield LineBlock(
                block.cells.select(pl.all().str.strip_chars_start(" ")),
                block.numbers,
                block.texts,
                block.wrong,
                block.size,
            )
        else:
            yield block


def texts(path: Path, encoding: str) -> Iterator[tuple[int, str, int, bool]]:
    """(number of the first line, whole lines with \\n between them, bytes, whether they are the last) part by part.

    Raises Refused for an encoding that there is not or that the file does not have, and for a file that is not text.
    """
    try:
        made = codecs.getincrementaldecoder(SIGNED if encoding.lower() in (UTF_8, "utf8") else encoding)()
    except LookupError:
        raise Refused(f"there is no encoding {encoding!r}; write utf-8, latin-1, cp1252, utf-16 ...") from None
    decoder, number, rest = io.IncrementalNewlineDecoder(made, translate=True), 1, ""
    with path.open("rb") as file:
        while True:
            data = file.read(BLOCK)
            try:
                text = rest + decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                line = number + rest.count("\n") + bytes(error.object[: error.start]).count(b"\n")
                raise _undecoded(path, encoding, data if number == 1 else b"", line) from None
            if "\0" in text:
                if data.startswith(UTF_16):
                    raise _undecoded(path, encoding, data, 1)
                raise Refused(f"{path} is not text: it has zero bytes near line {number}")
            cut = text.rfind("\n") + 1 if data else len(text)
            rest, text = text[cut:], text[:cut].removesuffix("\n")
            if len(rest) > LONGEST:
                raise Refused(f"{path} has more than {LONGEST} bytes in a line near line {number}: is it a table?")
            if text or cut or not data:
                yield number, text, len(data), not data
            number += text.count("\n") + 1 if cut else 0
            if not data:
                return


def cut(
    lines: Sequence[str], delimiter: str, width: int = 0, last: bool = True
) -> Iterator[tuple[int, int, list[str]]]:
    """(place of its first line, how many lines, cells) of each row; no cells where its quote stays open.

    A quoted cell may go over several lines; one that makes a row of another width than `width` (0: any) is not closed.
    Unless these are the last lines, a row that may go on is left out, as the last one.
    """
    place = 0
    while place < len(lines):
        if '"' not in lines[place]:
            yield place, 1, lines[place].split(delimiter)
            place += 1
            continue
        fed = _Fed(lines, place)
        try:
            row = next(csv.reader(fed, delimiter=delimiter))
        except csv.Error:
            row = []
        if fed.dry and not last:
            return
        taken = fed.place - place
        closed = row and not fed.dry and (taken == 1 or not width or len(row) == width)
        yield place, (taken if closed else 1), (row if closed else [])
        place += taken if closed else 1


def delimiter_of(lines: Sequence[str], last: bool = True) -> str:
    """The delimiter by which most lines have as many cells as the first, and more than one."""
    shares: dict[str, tuple[bool, float]] = {}
    for mark in DELIMITERS:
        rows = [row for place, count, row in cut(lines[:200], mark, last=last) if count > 1 or lines[place].strip()]
        widths = [len(row) for row in rows] or [1]
        alike = sum(width == widths[0] for width in widths[1:])
        found = widths[0] > 1 and (alike > 0 or len(widths) == 1 or mark == DELIMITERS[-1])
        shares[mark] = (found, alike / len(widths))
    best = max(shares.values())
    if not best[0] and best[1] == shares[","][1]:
        return ","  # one column, whatever parts it
    return next(mark for mark in DELIMITERS if shares[mark] == best)


def blank(delimiter: str) -> str:
    """The letters of which an empty line may consist."""
    return " \t\v\f\r\n".replace(delimiter, "")


def ragged(count: int, width: int) -> str:
    """What is wrong with a line of another number of cells."""
    return f"{count} cell{'s' * (count != 1)} instead of {width}" if count else OPEN


class _Fed(Iterator[str]):
    """Lines for a reader, from a place on; dry: it asked for more than there are."""

    def __init__(self, lines: Sequence[str], place: int) -> None:
        self.lines, self.place, self.dry = lines, place, False

    def __next__(self) -> str:
        if self.place == len(self.lines):
            self.dry = True
            raise StopIteration
        self.place += 1
        return self.lines[self.place - 1] + "\n"


def _plain(lines: "Series", first: int, delimiter: str, width: int, skip: int, size: int) -> LineBlock:
    """Lines without quotes."""
    import polars as pl

    numbers = np.arange(first, first + len(lines))
    there = (lines.str.strip_chars(blank(delimiter)) != "").to_numpy() & (numbers > skip)
    lines, numbers = lines.filter(pl.Series(there)), numbers[there]
    counts = lines.str.count_matches(delimiter, literal=True).to_numpy() + 1
    even = counts == width
    bad = [Wrong(int(numbers[i]), lines[int(i)], ragged(int(counts[i]), width)) for i in np.flatnonzero(~even)]
    if bad:
        lines, numbers = lines.filter(pl.Series(even)), numbers[even]
    cells = lines.str.split_exact(delimiter, width - 1).struct.unnest() if width > 1 else pl.DataFrame([lines])
    return LineBlock(
        cells.rename(dict(zip(cells.columns, map(str, range(width)), strict=True))), numbers, lines, bad, size
    )


def _quoted(
    lines: list[str], first: int, delimiter: str, width: int, skip: int, size: int, last: bool
) -> tuple[LineBlock, list[str]]:
    """Lines with quotes, and those of a row that is not at its end."""
    import polars as pl

    rows: list[list[str]] = []
    numbers: list[int] = []
    kept: list[str] = []
    bad: list[Wrong] = []
    done, empty = 0, blank(delimiter)
    for place, count, row in cut(lines, delimiter, width, last):
        done, number = place + count, first + place
        if number <= skip or (count == 1 and not lines[place].strip(empty)):
            continue
        text = "\n".join(lines[place:done])
        if len(row) == width:
            rows.append(row)
            numbers.append(number)
            kept.append(text)
        else:
            bad.append(Wrong(number, text, ragged(len(row), width)))
    columns = zip(*rows, strict=True) if rows else [[] for _ in range(width)]
    cells = pl.DataFrame([pl.Series(str(i), list(column), pl.String) for i, column in enumerate(columns)])
    block = LineBlock(cells, np.array(numbers, np.int64), pl.Series(kept, dtype=pl.String), bad, size)
    return block, lines[done:]


def _undecoded(path: Path, encoding: str, start: bytes, line: int) -> Refused:
    """The file is in another encoding: which, as far as it can be recognised, and what to type."""
    if start.startswith(UTF_16):
        return Refused(f"{path} is UTF-16 text: --set data.encoding=utf-16, or save it as UTF-8")
    known = encoding.lower() in (UTF_8, "utf8")
    other = "--set data.encoding=latin-1 (or cp1252, utf-16 ...)" if known else "give another data.encoding"
    return Refused(f"{path} is not {encoding.upper()} text near line {line}: {other}, or save it as UTF-8")
