"""The wanted columns of a table: each column's kind is decided here, and its text becomes numbers."""

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.tables.kinds import (
    COMMA,
    FEW,
    LOOSE,
    MISSING,
    NUMBER,
    PLACES,
    WHOLE,
    Seen,
    dated,
    local,
    number,
    unit,
)

if TYPE_CHECKING:
    from polars import DataFrame

LARGEST = 1e100  # so that squares of numbers are finite
STEP = 2**52  # of the whole numbers that are taken off those beyond WHOLE
PLAIN = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
POINT = ": a number has no comma, and its decimals a point"


@dataclass(frozen=True)
class Column:
    """A wanted column, the one at this place of the file.

    categories: their names, which the column counts from 0; () of numbers. form: of dates, the format; they are counted
    from 1970 in its `unit`. places: the digits behind the point of numbers, -1: more than PLACES; shown: so many are
    written at least. base: a whole number that is taken off. comma: decimals stand behind one. holes: whether numbers
    are missing; fill: what stands there, None: nothing may be missing.
    """

    at: int
    name: str
    categories: tuple[str, ...] = ()
    form: str = ""
    places: int = -1
    shown: int = 0
    base: int = 0
    largest: float = 0.0
    comma: bool = False
    holes: bool = False
    fill: float | None = None

    @property
    def narrow(self) -> bool:
        """Whether float32 tells its numbers apart."""
        if self.categories or self.form:
            return not self.form or unit(self.form) == "days"
        if self.base or self.places < 1:
            return not self.base and self.places == 0 and self.largest <= 2**24
        return float(np.spacing(np.float32(self.largest))) <= 10**-self.places / 2

    def values(self, cells: "DataFrame") -> tuple[np.ndarray, np.ndarray]:
        """Its numbers in float64, NaN where a cell has no value; and whether that is because it cannot be read."""
        import polars as pl

        cell = cells[str(self.at)]
        text = cell.str.strip_chars()
        gone = text.is_in(MISSING if self.form or self.categories else (*MISSING, *LOOSE))
        if self.categories:
            names = pl.select(pl.when(gone).then(pl.lit("")).otherwise(cell)).to_series()
            found = names.replace_strict(list(self.categories), range(len(self.categories)), default=None)
            gone = gone & found.is_not_null()
        elif self.form:
            found = dated(text, self.form)
        else:
            text = text.str.replace(",", ".", literal=True) if self.comma else text
            text = pl.select(pl.when(text.str.contains(NUMBER)).then(text)).to_series()
            found = text.cast(pl.Int64, strict=False) - self.base if self.base else text.cast(pl.Float64, strict=False)
        values = found.cast(pl.Float64).fill_null(np.nan).to_numpy()
        values = np.where(np.abs(values) <= LARGEST, values, np.nan)
        return values, np.isnan(values) & ~gone.to_numpy()

    def why(self, cell: str, filled: bool) -> str:
        """What is wrong with a cell of it; "" if nothing is. filled: whether it may be without a value."""
        import polars as pl

        value, bad = self.values(pl.DataFrame({str(self.at): [cell]}))
        if not bad[0] and (filled or not np.isnan(value[0])):
            return ""
        cell = cell.strip()
        if not cell:
            return f"cell {self.at + 1} is empty"
        if cell in (*MISSING, *LOOSE) and not self.form:
            return f"cell {self.at + 1} has no value: {cell}"
        if self.form:
            return f"{cell[:20]!r} is no date like {self.form}"
        if number(cell) is not None:
            return f"{cell[:20]} is too large to learn from"
        return f"{cell[:20]!r} is not a number" + POINT * (number(cell.replace(",", "")) is not None)


def decide(
    path: Path,
    names: Sequence[str],
    seen: Sequence[tuple[int, Seen]],
    numeric: Collection[int],
    categorical: Collection[int],
    beside: Collection[int],
    forms: Mapping[int, str],
    kept: bool,
) -> list[Column]:
    """The kind of each column, (its place, what it holds).

    Words make a column categorical, and where one is, or missing numbers are kept, so do few whole numbers that come
    again and again, unless the column is among the numeric or categorical ones that are asked for, or stands beside
    the rows.
    Raises Refused for a column with too many categories, and for numbers that float64 cannot hold.
    """
    given = {*numeric, *forms, *beside}
    words = {at for at, column in seen if at in categorical or (at not in given and _are_words(column))}
    holes = kept and any(_gone(column) for at, column in seen if at not in words and at not in beside)
    found: list[Column] = []
    for at, column in seen:
        if at in words or ((words or holes) and at not in given and column.are_names and not column.are_dates):
            found.append(Column(at, names[at], _categories(path, names[at], column, at in categorical)))
            continue
        form = forms.get(at, "" if at in numeric else column.form or "")
        places = -1 if column.places > PLACES or column.largest * 10.0**column.places >= WHOLE else column.places
        made = Column(at, names[at], (), form, places, column.shown, 0, column.largest)
        made = replace(made, comma=column.decimal, holes=_gone(column) > 0)
        if column.largest >= WHOLE and not (form or column.points or column.powers):
            made = replace(made, places=0, base=_base(path, names[at], column))
        found.append(made)
    return found


def setting(name: str, column: str) -> str:
    """What to type so that this field of [data] names the column."""
    plain = re.fullmatch(r"[A-Za-z_][\w.-]*", column, re.ASCII) and column not in ("true", "false", "inf", "nan")
    return f"--set data.{name}={column}" if plain else "--set " + shlex.quote(f"data.{name}={json.dumps([column])}")


def ordered(cells: Collection[str]) -> tuple[str, ...]:
    """By size where all are numbers, else in alphabetical order; what is missing first, as an empty name."""
    there = {"" if cell.strip() in MISSING else cell for cell in cells}
    values = {cell: number(cell.strip()) for cell in there if cell}
    if any(value is None for value in values.values()):
        return tuple(sorted(there))
    return tuple(sorted(there, key=lambda cell: (-np.inf if not cell else values[cell], cell)))


def _are_words(column: Seen) -> bool:
    return column.are_words and not column.are_dates


def _gone(column: Seen) -> int:
    """How many numbers are missing."""
    return column.missing + column.loose


def _categories(path: Path, name: str, column: Seen, asked: bool) -> tuple[str, ...]:
    count = len(column.cells)
    if column.over or (not asked and count > FEW and 2 * count > column.count):
        commas = next((f" ({cell} has a comma)" for cell in column.cells if re.fullmatch(COMMA, cell.strip())), "")
        more = "more than " * column.over
        most = column.most if column.over else count
        also = "" if asked else f", or take it for words all the same, {setting('categorical', name)}"
        if (form := local(column.cells)) and PLAIN.fullmatch(name):
            also += f", or for dates, --set {shlex.quote(f'data.dates.{name}={form}')}"
        raise Refused(
            f"{path}: column {name!r} has {more}{most:,} different words in {column.count:,} lines{commas}, too "
            f"many to be categories: leave it out, {setting('drop', name)}{also}"
        )
    return ordered(column.cells)


def _base(path: Path, name: str, column: Seen) -> int:
    """What is taken off whole numbers beyond WHOLE, so that float64 holds the rest."""
    base = int(column.low) // STEP * STEP
    if column.high - base >= WHOLE or column.largest >= 2**63:
        raise Refused(
            f"{path}: column {name!r} has whole numbers from {column.low:.0f} to {column.high:.0f}, and float64 tells "
            f"2^53 of them apart: leave it out, {setting('drop', name)}"
        )
    return base
