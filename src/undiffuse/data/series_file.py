"""A file of time series: columns of numbers that go on in even steps of time, NaN where a number is missing."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.sources.table import TableData
from undiffuse.data.tables.columns import setting
from undiffuse.data.tables.csv_reader import blocks
from undiffuse.data.tables.head import Header, TableHead, head
from undiffuse.data.tables.kinds import dated, is_date, is_missing, local, number
from undiffuse.sampling.data_frame import TABLE, UNITS

USUAL = ("time", "date", "datetime", "timestamp", "ds", "t")  # names of a column of times
UNEVEN = 0.25  # of a step: so far may a time be from its place
MONTH = 28  # days; steps as long are counted in months
MOST = 10  # times as many steps as lines: more gaps are no series


@dataclass(frozen=True)
class Clock:
    """When the steps are: step i at first + i step. name: of the column, "" where there is none, and steps are counted.
    unit: "" of plain numbers, "months" of the year 1970, or one of UNITS since then. form: how a date is written. day:
    of the month, of months, or the last one of a shorter month.
    """

    name: str = ""
    first: float = 0.0
    step: float = 1.0
    unit: str = ""
    form: str = ""
    day: int = 1

    def written(self, steps: np.ndarray) -> list[str]:
        """The times of these steps as the file writes them."""
        import polars as pl

        times = self.first + steps * self.step
        if not self.unit:
            return [f"{time:.0f}" if time == np.rint(time) else f"{time:.12g}" for time in times]
        whole = np.rint(times).astype(np.int64)
        if self.unit == "months":
            whole = np.minimum(_days(whole) + self.day, _days(whole + 1)) - 1
        if self.unit in ("months", "days"):
            dates = pl.Series(whole.astype(np.int32)).cast(pl.Date)
        else:
            dates = pl.Series(whole * UNITS[self.unit]).cast(pl.Datetime("us"))
        return dates.dt.strftime(self.form).to_list()


@dataclass(frozen=True)
class SeriesFile:
    """values: (steps, channels) float64, NaN where missing. names: of the channels."""

    values: np.ndarray
    names: tuple[str, ...]
    clock: Clock


def read(path: str, time: str = "", **how: Any) -> SeriesFile:
    """The one series of a file, see `read_each`."""
    (found,) = read_each(path, time, **how).values()
    return found


def read_each(
    path: str,
    time: str = "",
    columns: Sequence[str] = (),
    drop: Sequence[str] = (),
    header: Header = "auto",
    encoding: str = "utf-8",
    by: str = "",
    dates: str = "",
) -> dict[str, SeriesFile]:
    """The series of a .csv or .tsv file, a line a step; a line that is lacking is a step without numbers.

    time: the column of times; "": one called so, or that of dates. dates: their format, "": ISO 8601. columns: the
    channels; (): all others, but drop. by: the column that says which series a line is of; the series are found by its
    words, "": the file is one series.
    Raises Refused for files that cannot be read, for times that do not rise in even steps, and for series whose steps
    are not alike.
    """
    there = Path(path)
    if not there.is_file():
        raise Refused(f"there is no file {path}")
    top = head(there, encoding, header, {time, *columns, *drop, by} - {""})
    clock = time or _clock(there, encoding, top, {*columns, *drop, by}, dates)
    own = tuple(columns) or tuple(name for name in top.names if name not in (clock, by, *drop))
    if not own:
        raise Refused(f"{path} has no column of numbers beside its time")
    aside = tuple(name for name in (clock, by) if name)
    _refuse_words(there, encoding, top, own, clock, dates)
    how: Any = {"header": header, "encoding": encoding, "skip_broken": None, "categorical": (by,) if by else ()}
    how |= {"dates": {clock: dates} if clock and dates else {}}
    table = TableData(path, columns=aside + own, numeric=own, **how).load()
    told, names = table.notes[TABLE], table.columns or aside + own
    x = np.array(table.x, np.float64)
    if clock and table.categories and table.categories[names.index(clock)]:
        raise Refused(_timeless(path, clock, table.categories[names.index(clock)][-1]))
    if clock and table.x.dtype == np.float32:  # 0.1 as it is written, and not as float32 has it
        x[:, names.index(clock)] = table.x[:][:, names.index(clock)].astype(str).astype(np.float64)
    for name, base in told.get("bases", {}).items():
        x[:, names.index(name)] += base
    for name, hole in told.get("holes", {}).items():
        x[x[:, names.index(hole)] == 1, names.index(name)] = np.nan
    values = x[:, [names.index(name) for name in own]]
    words = table.categories[names.index(by)] if by else ("",)
    which = x[:, names.index(by)].astype(np.int64) if by else np.zeros(len(x), np.int64)
    if by and "" in words:
        raise Refused(f"{path}: a line has no series in the column {by!r}")
    times = x[:, names.index(clock)] if clock else None
    if times is not None and np.isnan(times).any():
        raise Refused(f"{path}: a line has no time in the column {clock!r}")
    date = told.get("dates", {}).get(clock, {})
    kind = Clock(clock, unit=date.get("unit", ""), form=date.get("format", ""))
    found: dict[str, SeriesFile] = {}
    for i, word in enumerate(words):
        rows, called = which == i, f"{path}, {word}" if word else path
        part = values[rows]
        if empty := [name for name, column in zip(own, part.T, strict=True) if np.isnan(column).all()]:
            raise Refused(f"{called}: the column {empty[0]!r} has no number")
        found[word] = SeriesFile(part, own, Clock()) if times is None else _even(called, part, own, times[rows], kind)
    _refuse_unlike(path, found)
    return found


def _timeless(path: Path | str, clock: str, cell: str, form: str = "") -> str:
    """What to say of a column of times that holds other words."""
    known = f"--set data.dates={shlex.quote(form)}" if form else "--set data.dates=%d.%m.%Y, for example"
    return (
        f"{path}: the column {clock!r} holds no number and no date of ISO 8601, such as {cell[:40]!r}: if it is the "
        f"time, say how dates are written, {known}; else leave it out, {setting('drop', clock)}"
    )


def _refuse_words(path: Path, encoding: str, top: TableHead, own: Sequence[str], clock: str, dates: str) -> None:
    """Raises Refused for a channel, or a column of times, that holds words, as far as the file's first part shows."""
    cells = next(blocks(path, encoding, top.delimiter, len(top.names), top.skip)).cells
    for name, column in zip(top.names, cells.iter_columns(), strict=False):
        times = [cell.strip() for cell in column.to_list() if not is_missing(cell)] if name == clock else []
        if times and not dates and not all(is_date(cell) or number(cell, comma=True) is not None for cell in times):
            raise Refused(_timeless(path, clock, times[0], local(times)))
        said = [cell for cell in column.drop_nulls().to_list() if not is_missing(cell)] if name in own else []
        if said and all(number(cell.strip(), comma=True) is None for cell in said):
            form = local(said)
            raise Refused(
                f"{path}: the column {name!r} holds words, such as {said[0][:40]!r}, and a channel holds numbers: "
                f"leave it out, {setting('drop', name)}; if it says which of several series a line is of, "
                f"{setting('by', name)}" + f"; if it is the time, --set data.dates={shlex.quote(form)}" * bool(form)
            )


def _refuse_unlike(path: str, found: Mapping[str, SeriesFile]) -> None:
    """Raises Refused for series with other steps than the first one's; one of a single line has none."""
    long = {word: each.clock for word, each in found.items() if len(each.values) > 1}
    for word, clock in long.items():
        first, other = next(iter(long.items()))
        if clock.unit != other.unit or not math.isclose(clock.step, other.step, rel_tol=1e-6):
            raise Refused(
                f"{path}: {first} has steps of {other.step:g} {other.unit or 'each'} and {word} of {clock.step:g} "
                f"{clock.unit or 'each'}: the series of one file have steps alike"
            )


def _clock(path: Path, encoding: str, top: TableHead, taken: set[str], dates: str) -> str:
    """The column of times; "" where none is to be seen. Raises Refused where several hold dates."""
    free = [name for name in top.names if name not in taken]
    called = [name for name in free if top.named and name.lower() in USUAL]
    if called:
        return called[0]
    cells = next(blocks(path, encoding, top.delimiter, len(top.names), top.skip)).cells
    first = dict(zip(top.names, cells.row(0) if len(cells) else (), strict=False))
    found = [name for name in free if _is_time(str(first.get(name, "")).strip(), dates)]
    if len(found) > 1:
        raise Refused(f"{path} has the dates {', '.join(found)}: say which is the time, --set data.time={found[0]}")
    return found[0] if found else ""


def _is_time(cell: str, dates: str) -> bool:
    """Whether a cell is a date of this format, "": of ISO 8601."""
    import polars as pl

    return dated(pl.Series([cell]), dates).null_count() == 0 if dates else is_date(cell)


def _even(path: str, values: np.ndarray, names: tuple[str, ...], times: np.ndarray, clock: Clock) -> SeriesFile:
    """The series with a step for each time between the first and the last one."""
    steps = np.diff(times)
    if len(steps) and steps.min() <= 0:
        line = int(np.argmin(steps > 0)) + 1
        raise Refused(
            f"{path}: times must rise, and item {line + 1} is not later than the one before it ({clock.name})"
        )
    unit, day = clock.unit, 1
    if unit == "days" and len(steps) and np.median(steps) >= MONTH:
        months = times.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        days = times - _days(months) + 1
        day = 31 if (times == _days(months + 1) - 1).all() else int(days.max())
        if (times != np.minimum(_days(months) + day, _days(months + 1)) - 1).any():
            day = int(days.min())
        times, unit = months.astype(np.float64), "months"
    steps = np.sort(np.diff(times))
    step = float(steps[(len(steps) - 1) // 2]) if len(steps) else 1.0
    places = (times - times[0]) / (step or 1.0)
    whole = np.rint(places).astype(np.int64)
    if np.abs(places - whole).max() > UNEVEN or (len(whole) > 1 and np.diff(whole).min() < 1):
        off = int(np.argmax(np.abs(places - whole)))
        raise Refused(
            f"{path}: the times in {clock.name!r} are not in even steps of {step:g} {unit}, see item {off + 1}: bring "
            "them to even steps, or name a column without times: --set data.columns=[...] and drop this one"
        )
    if whole[-1] + 1 > MOST * len(whole):
        raise Refused(
            f"{path}: {len(whole)} lines in {whole[-1] + 1} steps of {step:g} {unit} are too few for a series"
        )
    full = np.full((int(whole[-1]) + 1, values.shape[1]), np.nan)
    full[whole] = values
    return SeriesFile(full, names, Clock(clock.name, float(times[0]), step, unit, clock.form, day))


def _days(months: np.ndarray) -> np.ndarray:
    """Of months since 1970 the first days, since then, too."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
