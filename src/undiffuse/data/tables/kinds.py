"""What the columns of a table hold: numbers with their step, dates, or words; found from all their cells."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from undiffuse.sampling.dates import UNITS, spelled, unit

if TYPE_CHECKING:
    from polars import Series

# How programs write that a cell has no value: pandas' list (`read_csv`, na_values), and "?" of the UCI's tables.
MISSING = (
    *("", "?", "NA", "N/A", "n/a", "na", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>", "#N/A", "#NA"),
    *("#N/A N/A", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
LOOSE = ("none", "-", "--", ".", "Na", "Null")  # the same, but in a column of numbers only
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
COMMA = r"^[+-]?[0-9]+,[0-9]+$"
THOUSANDS = r"^[+-]?[0-9]{1,3},[0-9]{3}$"
CODE = r"^[+-]?0[0-9]+$"  # a number whose zeros are lost
FEW, EACH = 10, 10  # so few whole numbers, each in so many lines on average, are names
MOST, MOST_ASKED = 1000, 100_000  # categories of a column: found, and asked for
WHOLE = 2**53  # from here on float64 leaves out whole numbers
PLACES = 9  # behind the point; a number with more is one of the line
CLOCKS = ("%H:%M:%S", "%H:%M", "%H:%M:%S%.3f", "%H:%M:%S%.6f")
DATE = re.compile(r"\d{4}-\d{2}(-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{3,6})?)?(?P<zone>Z|[+-]\d{2}:?\d{2})?)?)?", re.ASCII)
LOCAL = [f"{day}{clock}" for day in ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%Y-%m-%d", "%d %b %Y")
         for clock in ("", " %H:%M", " %H:%M:%S")]  # fmt: skip


def is_missing(cell: str) -> bool:
    """Whether a cell says that it has no value."""
    return cell.strip() in MISSING


def is_date(cell: str) -> bool:
    """Whether a cell looks like a date of ISO 8601."""
    return DATE.fullmatch(cell) is not None


def iso(cell: str) -> list[str]:
    """The formats of ISO 8601 that a cell may have; a time zone, which all cells of a column share, is written out."""
    found = DATE.fullmatch(cell)
    if found is None:
        return []
    return ["%Y-%m-%d", "%Y-%m", *(f"%Y-%m-%d{t}{clock}{found['zone'] or ''}" for t in " T" for clock in CLOCKS)]


def local(cells: Collection[str]) -> str:
    """A format of dates, other than those of ISO 8601, that all these cells have; "" if there is none."""
    import polars as pl

    there = pl.Series([cell.strip() for cell in cells if not is_missing(cell)], dtype=pl.String)
    return next((form for form in LOCAL if len(there) and not dated(there, form).null_count()), "")


def number(cell: str, comma: bool = False) -> float | None:
    """The number in a cell, or None; comma: its decimals may stand behind one."""
    if comma and re.fullmatch(COMMA, cell):
        cell = cell.replace(",", ".")
    return float(cell) if re.fullmatch(NUMBER, cell) else None


@dataclass
class Seen:
    """What a column holds, part by part. comma: it parts the cells, too. most: different cells that are counted.

    cells: how often each of them comes, while they are few. form: the format of dates that all cells have, "" if none.
    places, shown: the most digits behind the point that count, and the fewest that are written.
    """

    comma: bool
    most: int = MOST
    form: str | None = None
    count: int = 0
    words: int = 0
    missing: int = 0
    loose: int = 0
    commas: int = 0
    thousands: bool = True
    codes: int = 0
    points: int = 0
    powers: int = 0
    lengths: set[int] = field(default_factory=set)
    repeats: bool = False
    places: int = 0
    shown: int = PLACES
    largest: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    cells: dict[str, int] = field(default_factory=dict)

    def add(self, column: "Series") -> None:
        """Look at more cells."""
        import polars as pl

        counts = column.alias("raw").value_counts(name="n")
        frame = counts.with_columns(pl.col("raw").str.strip_chars().alias("cell"))
        self.count += len(column)
        self.repeats |= len(counts) < len(column)
        if len(self.cells) <= self.most:
            for raw, count in zip(frame["raw"].to_list(), frame["n"].to_list(), strict=True):
                self.cells[raw] = self.cells.get(raw, 0) + count
        gone, loose = frame["cell"].is_in(MISSING), frame["cell"].is_in(LOOSE)
        self.missing += int(frame.filter(gone)["n"].sum())
        self.loose += int(frame.filter(loose)["n"].sum())
        there = frame.filter(~gone)
        self._dates(there["cell"])
        self._numbers(there.filter(~there["cell"].is_in(LOOSE)))

    @property
    def over(self) -> bool:
        """Whether there are more different cells than are counted."""
        return len(self.cells) > self.most

    @property
    def are_dates(self) -> bool:
        """Whether all cells that are there are dates."""
        return bool(self.form)

    @property
    def are_words(self) -> bool:
        """Whether most of what is there are words, or numbers whose first zeros count."""
        there = self.count - self.missing
        codes = self.codes and len(self.lengths) == 1 and not self.points
        words = self.words + self.loose + (0 if self.decimal else self.commas)
        return there == 0 or 2 * words > there or bool(codes)

    @property
    def decimal(self) -> bool:
        """Whether a comma stands before the decimals, and not before thousands or between cells."""
        most = 2 * self.commas >= self.count - self.missing and not self.thousands
        return self.commas > 0 and not self.points and (most or not self.comma)

    @property
    def are_names(self) -> bool:
        """Whether these are few whole numbers, each of which comes often."""
        whole = all(is_missing(cell) or cell.strip().removeprefix("-").isdecimal() for cell in self.cells)
        return whole and not self.over and len(self.cells) <= FEW and EACH * len(self.cells) <= self.count

    def _dates(self, cells: "Series") -> None:
        if self.form is None and len(cells):
            self.form = next((form for form in iso(cells[0]) if _are(cells[:1], form)), "")
        if self.form and not _are(cells, self.form):
            self.form = ""

    def _numbers(self, there: Any) -> None:
        import polars as pl

        cells = there["cell"]
        behind = cells.str.contains(COMMA)
        plain = cells.str.contains(NUMBER)
        self.words += int(there.filter(~(plain | behind))["n"].sum())
        self.commas += int(there.filter(behind)["n"].sum())
        self.thousands &= bool(cells.filter(behind).str.contains(THOUSANDS).all())
        self.codes += int(cells.str.contains(CODE).sum())
        texts = there.filter(plain | behind)["cell"].str.replace(",", ".", literal=True)
        if not len(texts):
            return
        parts = texts.str.extract_groups(r"^[+-]?0*([0-9]*)\.?([0-9]*)(?:[eE]([+-]?[0-9]+))?$").struct.unnest()
        digits, power = parts["2"].fill_null(""), parts["3"].cast(pl.Int64, strict=False).fill_null(0)
        telling = digits.str.strip_chars_end("0").str.len_chars().cast(pl.Int64) - power
        self.places = max(self.places, int(telling.max() or 0))
        self.shown = min(self.shown, int(digits.str.len_chars().min() or 0) if not parts["3"].count() else 0)
        self.points += int(cells.str.contains(".", literal=True).sum())
        self.powers += int(parts["3"].count())
        self.lengths |= set(texts.str.strip_chars_start("+-").str.len_chars().unique().to_list())
        values = texts.cast(pl.Float64, strict=False)
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))  # type: ignore[arg-type]
        self.largest = max(abs(self.low), abs(self.high))


def dated(cells: "Series", form: str) -> "Series":
    """Texts as dates of this format, counted from 1970 in its unit; null where one is none."""
    import polars as pl

    whole = cells if "%d" in form or "%j" in form or "%e" in form or "%D" in form or "%F" in form else cells + "-01"
    read = form if whole is cells else f"{form}-%d"
    if unit(form) == "days":
        return whole.str.to_date(read, strict=False).cast(pl.Int32).cast(pl.Int64)
    times = whole.str.to_datetime(read, strict=False, time_unit="us").cast(pl.Int64)
    return times // UNITS[unit(form)]


def _are(cells: "Series", form: str) -> bool:
    """Whether these texts are dates of exactly this format."""
    found = dated(cells, form)
    return not found.null_count() and bool((spelled(found, form) == cells).all())
