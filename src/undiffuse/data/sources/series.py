"""Your own time series: a .csv or .tsv file with a line a step and a column a channel, or with one series a line."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import MISSING, Dataset
from undiffuse.data.series_file import SeriesFile, read_each
from undiffuse.data.source import Peek, Stored
from undiffuse.data.sources.table import TableData
from undiffuse.data.tables.head import Header, head
from undiffuse.sampling.data_frame import TABLE

MANY = 20_000  # windows, from which on there are fewer than one a step
SERIES = "series"  # where a data set's notes say what its channels and steps are


@dataclass(frozen=True)
class Series(Stored):
    """Windows (count, channels, window) of a file whose lines are steps of time; or its lines, (count, 1, columns).

    time: the column of times; left empty, one called time, date, datetime, timestamp, ds or t, or that of dates. Steps
    are even; a line that is lacking is a step without numbers. columns: the channels; left empty, all others, but drop.
    window: steps of an item; stride: from one item to the next, 0: 1, or so that there are about 20,000.
    series: "columns": one series of several channels; "lines": each line is a series of its own, its columns the steps;
    label: then the column of its class. by: a column that says which of several series a line is of, such as a shop;
    each has its own times, and those shorter than a window are left out.
    missing: what becomes of missing numbers. "keep": a straight line between their neighbours stands there, and an
    array `missing` says where, so that the objective `imputation` leaves them out; "fill": the line only; "refuse".
    Of windows the last ones in time are held out. dates: how times are written that are not ISO 8601, such as
    "%d.%m.%Y". header, encoding: as of a table. Raises Refused for what cannot be
    read.
    """

    path: str
    window: int = 96
    stride: int = 0
    time: str = ""
    columns: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    series: Literal["columns", "lines"] = "columns"
    label: str = ""
    by: str = ""
    missing: Literal["keep", "fill", "refuse"] = "keep"
    header: Header = "auto"
    encoding: str = "utf-8"
    dates: str = ""

    aliases: ClassVar[tuple[str, ...]] = ("time_series",)
    brings: ClassVar[tuple[str, ...]] = (
        *("window", "stride", "time", "columns", "drop", "series", "label", "by", "missing", "header", "encoding"),
        "dates",
    )
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv")

    def __post_init__(self) -> None:
        if self.window < 2 or self.stride < 0:
            raise Refused(f"window = {self.window}, stride = {self.stride}: a window has 2 steps or more")
        if self.by and self.series == "lines":
            raise Refused(f"by = {self.by!r}: of series = 'lines' each line is a series already")
        if self.label and self.series == "columns":
            raise Refused(f"label = {self.label!r}: the windows of one series have none; of series = 'lines' they may")

    def load(self) -> Dataset:
        """All windows, or all lines."""
        return self._lines() if self.series == "lines" else self._windows()

    def peek(self) -> Peek:
        """The shape of an item and whether a label is named."""
        if self.series == "lines":
            return Peek(self._lines().shape, bool(self.label))
        shape = (len(next(iter(self.each_series().values())).names), self.window)
        return Peek(shape, labelled=False)

    def each_series(self) -> dict[str, SeriesFile]:
        """The series of the file, by the words of the column `by`; without it one, called ""."""
        return read_each(self.path, self.time, self.columns, self.drop, self.header, self.encoding, self.by, self.dates)

    def _windows(self) -> Dataset:
        found = self.each_series()
        steps = max(len(each.values) for each in found.values())
        if steps < self.window + 1:
            raise Refused(
                f"{self.path} has {steps} steps, and a window of {self.window}: make it shorter, --set data.window=N"
            )
        long = [each for each in found.values() if len(each.values) >= self.window]
        if len(long) < len(found):
            logging.getLogger("undiffuse").warning(
                "%s: %d of %d series are shorter than a window of %d steps and left out",
                self.path, len(found) - len(long), len(found), self.window,
            )  # fmt: skip
        steps = sum(len(each.values) for each in long)
        stride = self.stride or max(1, (steps - self.window * len(long)) // MANY)
        x = np.concatenate([self._cut(filled(each.values), stride) for each in long])
        missing = np.concatenate([self._cut(np.isnan(each.values), stride) for each in long])
        counts = [(len(each.values) - self.window) // stride + 1 for each in long]
        clock = long[0].clock
        begins = [each.clock.first / clock.step + stride * np.arange(n) for each, n in zip(long, counts, strict=True)]
        order = np.argsort(np.concatenate(begins), kind="stable")
        about = {"names": list(long[0].names), "steps": steps, "stride": stride, "step": clock.step, "unit": clock.unit}
        notes = {SERIES: about | ({"count": len(long)} if self.by else {})}
        shared = max(1, math.ceil(self.window / stride) - 1)  # windows before that share numbers with one
        overlap = _most_between(order, counts, shared)
        values = np.ascontiguousarray(x[order], np.float32)
        return Dataset(values, self._missing(missing[order]), name=Path(self.path).stem, notes=notes, overlap=overlap)

    def _cut(self, values: np.ndarray, stride: int) -> np.ndarray:
        """The windows of a series (steps, channels), (count, channels, window)."""
        return np.lib.stride_tricks.sliding_window_view(values, self.window, axis=0)[::stride]

    def _lines(self) -> Dataset:
        names = head(Path(self.path), self.encoding, self.header, {*self.columns, *self.drop, self.label} - {""}).names
        own = self.columns or tuple(name for name in names if name not in {*self.drop, self.time, self.label})
        table = TableData(
            self.path, self.label, own, None, numeric=own, header=self.header, encoding=self.encoding
        ).load()  # fmt: skip
        names = table.columns or own
        x = np.array(table.x, np.float64)[:, [names.index(name) for name in own]]
        for name, hole in table.notes[TABLE].get("holes", {}).items():
            x[table.x[:, names.index(hole)] == 1, own.index(name)] = np.nan
        missing = np.isnan(x)
        if missing.all(1).any():
            raise Refused(f"{self.path}: line {int(missing.all(1).argmax()) + 1} has no number")
        values = filled(x.T).T.astype(np.float32)[:, None]
        conditions = {name: table.conditions[name] for name in ("label",) if name in table.conditions}
        conditions |= self._missing(missing[:, None])
        return Dataset(values, conditions, table.classes, Path(self.path).stem)

    def _missing(self, missing: np.ndarray) -> dict[str, np.ndarray]:
        if not missing.any():
            return {}
        if self.missing == "refuse":
            raise Refused(
                f"{self.path}: {missing.mean():.1%} of the numbers are missing: --set data.missing=keep leaves them "
                "out of training (with the recipe series), data.missing=fill draws lines between their neighbours"
            )
        return {MISSING: np.ascontiguousarray(missing)} if self.missing == "keep" else {}


def _most_between(order: np.ndarray, counts: Sequence[int], shared: int) -> int:
    """How many items before an item may share numbers with it. order: which window each item is, series by series, of
    `counts` windows each, of which one shares numbers with so many before it.
    """
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    most = shared if len(counts) == 1 else 1
    for own in np.split(places, np.cumsum(counts)[:-1]):
        before = np.maximum(np.arange(len(own)) - shared, 0)
        most = max(most, int((own - own[before]).max()))
    return most


def filled(values: np.ndarray) -> np.ndarray:
    """Columns of numbers with straight lines where they are NaN, and the nearest number at the ends."""
    found, places = np.array(values, np.float64), np.arange(len(values))
    for column in found.T:
        gone = np.isnan(column)
        if gone.any() and not gone.all():
            column[gone] = np.interp(places[gone], places[~gone], column[~gone])
    return found
