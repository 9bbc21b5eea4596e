"""A table's file, read twice: what its columns hold, and then their numbers, a part at a time."""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from undiffuse.core.errors import Refused
from undiffuse.data.tables.columns import Column
from undiffuse.data.tables.csv_reader import LineBlock, Wrong, blocks
from undiffuse.data.tables.head import TableHead
from undiffuse.data.tables.kinds import MISSING as GONE
from undiffuse.data.tables.kinds import MOST, MOST_ASKED, Seen

if TYPE_CHECKING:
    from polars import Series

NAMED = 5
NO_YES = ("no", "yes")
MISSING = " missing"  # behind a column's name: where it has no number


@dataclass(frozen=True)
class Surveyed:
    """What the wanted columns of a file hold, each with its place, and how many lines there are."""

    seen: tuple[tuple[int, Seen], ...]
    count: int


def survey(path: Path, encoding: str, top: TableHead, wanted: Sequence[int], asked: Collection[int]) -> Surveyed:
    """Look at all lines; asked: the columns whose many words are counted. What was seen last is kept."""
    with path.open("rb") as file:
        digest = file_digest(file, "blake2b").digest()  # size and time are not enough for files that change quickly
    return _survey(path, encoding, top, tuple(wanted), frozenset(asked), digest)


@lru_cache(maxsize=1)
def _survey(
    path: Path, encoding: str, top: TableHead, wanted: tuple[int, ...], asked: frozenset[int], digest: bytes
) -> Surveyed:
    comma = top.delimiter == ","
    seen = {at: Seen(comma, MOST_ASKED if at in asked else MOST) for at in wanted}
    count = 0
    for block in _read(path, encoding, top, "looking at"):
        count += len(block.numbers)
        for at, column in seen.items():
            column.add(block.cells[str(at)])
    return Surveyed(tuple(seen.items()), count)


def _read(path: Path, encoding: str, top: TableHead, what: str) -> Iterator[LineBlock]:
    """The file's blocks, behind a bar."""
    width = len(top.names)
    with tqdm(
        total=path.stat().st_size, unit="B", unit_scale=True, desc=f"{what} {path.name}", delay=2, leave=False
    ) as bar:
        for block in blocks(path, encoding, top.delimiter, width, top.skip, top.spaced):
            yield block
            bar.update(block.size)


@dataclass(frozen=True)
class Reading:
    """How a file becomes numbers: its columns, behind them one for each whose numbers may be missing, and the label.

    holes: whether missing numbers are marked so. Each line's numbers are float32 where that changes none, else float64.
    """

    path: Path
    encoding: str
    top: TableHead
    columns: tuple[Column, ...]
    label: int | None
    marked: bool

    @cached_property
    def holes(self) -> dict[str, str]:
        """The names of the columns that say where numbers are missing, by the names of these."""
        known = {column.name for column in self.columns}
        found: dict[str, str] = {}
        for column in self.columns:
            if self.marked and column.fill is not None:
                name = column.name + MISSING
                while name in known:
                    name += "_"
                found[column.name] = name
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns are called."""
        return (*(column.name for column in self.columns), *self.holes.values())

    @property
    def categories(self) -> tuple[tuple[str, ...], ...]:
        """The names of each column's categories, () of numbers."""
        return (*(column.categories for column in self.columns), *([NO_YES] * len(self.holes)))

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """What holds all numbers."""
        return np.float32 if all(column.narrow for column in self.columns) else np.float64

    def filled(self) -> "Reading":
        """The same with what stands for missing numbers: the middle one of those that are there, the lower of two."""
        wanted = [column for column in self.columns if column.holes]
        values: dict[int, list[np.ndarray]] = {column.at: [] for column in wanted}
        for block in _read(self.path, self.encoding, self.top, "filling") if wanted else ():
            for column in wanted:
                found = column.values(block.cells)[0]
                values[column.at].append(found[~np.isnan(found)])
        fills: dict[int, float] = {}
        for column in wanted:
            there = np.concatenate(values[column.at] or [np.empty(0)])
            if not len(there):
                raise Refused(f"{self.path}: column {column.name!r} has no number to stand for missing ones")
            fills[column.at] = float(np.quantile(there, 0.5, method="lower"))
        return replace(self, columns=tuple(replace(each, fill=fills.get(each.at)) for each in self.columns))

    def rows(self, wrong: "BrokenLines", labels: "list[Series]") -> Iterator[np.ndarray]:
        """The numbers, (k, columns) at a time; lines that cannot be read go into `wrong`, labels into `labels`."""
        import polars as pl

        for block in _read(self.path, self.encoding, self.top, "reading"):
            x = np.empty((len(block.numbers), len(self.names)), self.dtype)
            bad = np.zeros(len(x), bool)
            behind = len(self.columns)
            for i, column in enumerate(self.columns):
                values, broken = column.values(block.cells)
                gone = np.isnan(values)
                if column.name in self.holes:
                    x[:, behind] = gone
                    behind += 1
                bad |= broken if column.fill is not None else gone
                with np.errstate(over="ignore"):
                    x[:, i] = np.where(gone, 0.0 if column.fill is None else column.fill, values)
            if self.label is not None:
                words = block.cells[str(self.label)].str.strip_chars()
                bad |= words.is_in(GONE).to_numpy()
                labels.append(words.filter(pl.Series(~bad)))
            wrong.add(block, np.flatnonzero(bad), self.why)
            if not bad.all():
                yield x[~bad]

    def why(self, cells: dict[str, str]) -> str:
        """What is wrong with a line."""
        for column in self.columns:
            if wrong := column.why(cells[str(column.at)], column.fill is not None):
                return wrong
        return "it has no label"


@dataclass
class BrokenLines:
    """Lines that cannot be read: how many, and the first of them; alone: a line is one cell."""

    count: int = 0
    first: Wrong | None = None
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, block: LineBlock, bad: np.ndarray, why: Any) -> None:
        """Note the lines of a part that are no rows, and those at these places, each with what is wrong."""
        self.count += len(block.wrong) + len(bad)
        shown = bad[:NAMED].tolist() if len(self.examples) < NAMED else []
        few = [Wrong(int(block.numbers[i]), block.texts[i], why(block.cells.row(i, named=True))) for i in shown]
        for each in sorted([*few, *block.wrong[:NAMED]], key=lambda wrong: wrong.number):
            self.first = self.first or each
            if len(self.examples) < NAMED:
                self.examples[f"line {each.number}"] = each.why

    def settle(self, path: str, skip: bool | None, left: int) -> dict[str, object]:
        """What `describe` says of them, and a warning; raises Refused if they are not to be left out, or are all.

        skip: whether they are left out; None: they cannot be.
        """
        if self.first is None:
            return {}
        line = self.first.line if len(self.first.line) <= 80 else self.first.line[:77] + "..."
        one = f"line {self.first.number} ({self.first.why}): {line}"
        said = f"{path} has {self.count:,} line{'s' * (self.count > 1)} that cannot be read: {one}"
        if not skip or not left:
            without = "" if skip is None else f", or go on without them: --skip-broken{self._advice()}"
            raise Refused(f"{said}\nMend them{without}")
        logging.getLogger("undiffuse").warning("%s; left out", said)
        return {"broken": {"count": self.count, "examples": self.examples}}

    def _advice(self) -> str:
        """What else to do about a line that cannot be read."""
        known = {
            "is not a number": "; a column of words is named with --set data.categorical=NAME",
            "is empty": "; or --set data.missing=keep, or data.missing=impute",
            "has no value": "; or --set data.missing=keep, or data.missing=impute",
        }
        why = self.first.why if self.first else ""
        return next((advice for reason, advice in known.items() if reason in why), "")
