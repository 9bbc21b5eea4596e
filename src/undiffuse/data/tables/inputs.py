"""What a table's target is predicted from: its other columns as numbers, categories one column each; and new rows."""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from undiffuse.core.errors import Refused, near
from undiffuse.data.tables.columns import Column
from undiffuse.data.tables.columns_reader import MISSING
from undiffuse.data.tables.csv_reader import UTF_8, blocks, texts
from undiffuse.data.tables.head import head
from undiffuse.data.tables.kinds import Seen

if TYPE_CHECKING:
    from polars import DataFrame, Series

SHOWN = 20  # columns that a refusal names


@dataclass(frozen=True)
class TableInputs:
    """The columns, each as it was read in training; marked: those for which a number says whether they are missing.

    named: whether the table's first line named them; None: not known. encoding: of the table.
    """

    columns: tuple[Column, ...]
    marked: tuple[str, ...] = ()
    named: bool | None = None
    encoding: str = UTF_8

    @property
    def names(self) -> tuple[str, ...]:
        """What the numbers are called, in their order: `colour=red` of a category."""
        own = [[f"{c.name}={word}" for word in c.categories] if c.categories else [c.name] for c in self.columns]
        return (*(name for names in own for name in names), *(name + MISSING for name in self.marked))

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Columns of numbers and of category numbers, behind them what is missing, (count, columns + marked), as
        numbers alone, (count, names): 1 and 0 of categories; float64 where float32 would change them.
        """
        dtype = np.float32 if all(column.narrow for column in self.columns) else np.float64
        parts = [
            values[:, i, None] == np.arange(len(column.categories)) if column.categories else values[:, i, None]
            for i, column in enumerate(self.columns)
        ]
        return np.concatenate([*parts, values[:, len(self.columns) :]], axis=1).astype(dtype)

    def described(self) -> dict[str, Any]:
        """All of it in JSON's types."""
        reads = [asdict(column) for column in self.columns]
        return {"reads": reads, "marked": list(self.marked), "named": self.named, "encoding": self.encoding}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """What `described` gave; of data that were no table, a number for each of the `columns`."""
        reads = told.get("reads") or [{"at": i, "name": name} for i, name in enumerate(told.get("columns", ()))]
        columns = (Column(**{**each, "categories": tuple(each.get("categories", ()))}) for each in reads)
        return cls(tuple(columns), tuple(told.get("marked", ())), told.get("named"), told.get("encoding", UTF_8))

    def read(self, cells: "DataFrame", what: str, lines: Sequence[int] | None = None) -> np.ndarray:
        """The numbers of rows by the columns' names, their cells texts or values; other columns are left alone.

        lines: where the rows stand, for people. Raises Refused, by name, for a column that is not there, and for the
        first cell that cannot be read.
        """
        if not len(cells):
            raise Refused(f"{what} has no rows")
        for column in self.columns:
            if column.name not in cells.columns:
                there = ", ".join(cells.columns[:SHOWN]) + (", ..." if len(cells.columns) > SHOWN else "")
                raise Refused(
                    f"{what} has no column {column.name!r}{near(column.name, cells.columns)}, which the run predicts "
                    f"from; it has: {there}"
                )
        found = np.zeros((len(cells), len(self.columns) + len(self.marked)), np.float64)
        for i, column in enumerate(self.columns):
            given = written(cells[column.name], column).fill_null("")
            values, broken = column.values(given.alias(str(column.at)).to_frame())
            gone, fill = np.isnan(values), 0.0 if column.fill is None else column.fill
            bad = gone if column.fill is None else broken
            if bad.any():
                first = int(bad.argmax())
                place = f"line {lines[first]}" if lines is not None else f"row {first}"
                raise Refused(f"{what}, {place}: column {column.name!r}: {self._why(column, given[first])}")
            found[:, i] = np.where(gone, fill, values)
            if column.name in self.marked:
                found[:, len(self.columns) + self.marked.index(column.name)] = gone
        return self.numbers(found)

    def read_file(self, path: Path) -> tuple[np.ndarray, "DataFrame"]:
        """The numbers of a file's rows, and the rows as texts; raises Refused as `read`, and for broken lines.

        The file is UTF-8, or has the encoding of the table that was learned from.
        """
        import polars as pl

        if not path.is_file():
            raise Refused(f"there is no file {path}")
        encoding = self._encoding(path)
        header = "auto" if self.named is None else "yes" if self.named else "no"
        top = head(path, encoding, header, {column.name for column in self.columns})
        parts, lines = [], []
        for block in blocks(path, encoding, top.delimiter, len(top.names), top.skip, top.spaced):
            if block.wrong:
                wrong = block.wrong[0]
                raise Refused(f"{path}: line {wrong.number} cannot be read ({wrong.why}): {wrong.line[:80]}")
            parts.append(block.cells)
            lines += block.numbers.tolist()
        if not lines:
            raise Refused(f"{path} has no rows")
        cells: DataFrame = pl.concat(parts)
        cells.columns = list(top.names)
        return self.read(cells, str(path), lines), cells

    def _encoding(self, path: Path) -> str:
        """The first encoding that the file can have; raises Refused for a file that has none of them."""
        wrong: list[Refused] = []
        for encoding in dict.fromkeys((UTF_8, self.encoding)):
            try:
                deque(texts(path, encoding), maxlen=0)
            except Refused as refused:
                wrong.append(refused)
            else:
                return encoding
        if "encoding" not in str(wrong[0]):
            raise wrong[0]
        also = f" and no {self.encoding.upper()}" if len(wrong) > 1 else ""
        raise Refused(f"{path} is no UTF-8 text{also}: save it as UTF-8")

    def _why(self, column: Column, cell: str) -> str:
        """What is wrong with a cell."""
        if column.categories:
            known = ", ".join(column.categories[:SHOWN])
            return f"{cell[:40]!r} is none of the categories that the run knows: {known}"
        if not cell.strip():
            return "it is empty, and in training no row was without it"
        return column.why(cell, column.fill is not None).replace(f"cell {column.at + 1} ", "it ")


def written(values: "Series", column: Column) -> "Series":
    """Values of a data frame as the texts that the column was read from in training: True and False as its categories
    write them, or 1 and 0, dates in its format, and whole numbers among its categories without a point. Times of a zone
    become those of the zone that the column is written in, or else what the clock shows. Raises Refused for cells of
    another kind.
    """
    import polars as pl

    if values.dtype == pl.Boolean:
        known = {word.lower(): word for word in column.categories}
        words = {True: known.get("true", "1"), False: known.get("false", "0")}
        return values.replace_strict(words, return_dtype=pl.String)
    if column.form and values.dtype in (pl.Date, pl.Datetime):
        return _clock(values, column.form).dt.strftime(column.form)
    if values.dtype.is_nested() or values.dtype == pl.Object:
        raise Refused(f"column {values.name!r} has cells of {values.dtype}, and takes numbers, words or dates")
    texts = values.cast(pl.String)
    if values.dtype.is_float() and (column.categories or column.base):
        whole = values.is_finite() & (values == values.floor())
        return pl.select(
            pl.when(whole).then(values.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(texts)
        ).to_series()
    return texts


def _clock(values: "Series", form: str) -> "Series":
    """What the clock shows at these times, where dates of this format are written."""
    import polars as pl

    times = values.cast(pl.Datetime("us", getattr(values.dtype, "time_zone", None)))
    zone = re.search(r"(Z|([+-])(\d\d):?(\d\d))$", form, re.ASCII)
    if times.dtype == pl.Datetime("us") or zone is None:
        return times.dt.replace_time_zone(None)
    sign = -1 if zone[2] == "-" else 1
    ahead = timedelta(hours=sign * int(zone[3] or 0), minutes=sign * int(zone[4] or 0))
    return times.dt.convert_time_zone("UTC").dt.replace_time_zone(None) + ahead


def is_class(seen: Seen, asked: bool) -> bool:
    """Whether a target is a class, and not a number: words, or what a person calls categorical."""
    return asked or (seen.are_words and not seen.are_dates)


def refuse_missing(path: str, name: str, seen: Seen, skip: bool) -> None:
    """Raises Refused for a target that some rows do not have, unless these are left out."""
    gone = seen.missing + (0 if seen.are_words else seen.loose)
    if gone and not skip:
        raise Refused(
            f"{path}: the target {name!r} is missing in {gone:,} of {seen.count:,} rows, and nothing can be learned "
            "from these: leave them out, --skip-broken"
        )
