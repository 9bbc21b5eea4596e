"""Your own table: a .csv or .tsv file of numbers and words, one item a line, with its columns' names if it has them."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from undiffuse.core.errors import Refused, near
from undiffuse.data.beside import refuse_label
from undiffuse.data.dataset import Dataset
from undiffuse.data.labels import classify
from undiffuse.data.lines import Cells, Head, blocks, head
from undiffuse.data.mixed import Parsed, has_words, mixed_cells, named
from undiffuse.data.room import Kept, find, gather, place
from undiffuse.data.source import Glance, Stored

NAMED = 5
CATEGORIES, ADDED = "categories", "added"  # what is kept beside mixed columns: their names' names, and more columns
NO_YES = ("no", "yes")


@dataclass(frozen=True)
class Table(Stored):
    """A .csv or .tsv file, (count, columns) as float32; the delimiter is a comma, a semicolon or a tab.

    Words become the numbers of their column's categories; a cell without a value is a category of its own. In a table
    with words a column of few whole numbers is categorical as well; one of numbers alone is read as numbers. numeric,
    categorical: columns, by name, that are what they are called. missing: "impute" fills in the median for a number
    that is missing, and adds a column of no and yes that says where; else the line is broken.
    A first line that holds no numbers names the columns. label: the column with the class of an item, by name (or by
    number from 0, where there are no names); its values may be words. columns: those to take, in this order; left
    empty, all but the label. conditions: columns that make a vector beside the items, by its name; they are not among
    the items' own. skip_broken: leave out lines with text among numbers, empty cells or too few or too many of them.
    """

    path: str
    label: str = ""
    columns: tuple[str, ...] = ()
    skip_broken: bool = False
    conditions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    missing: Literal["refuse", "impute"] = "refuse"

    def load(self) -> Dataset:
        """All lines; raises Refused, showing the first line that holds no numbers, and counting them."""
        path, top, cells = self._open()
        there = place(self.key, [path])
        kept = find(there) or self._parsed(path, top, cells, there)
        beside: dict[str, np.ndarray] = {}
        classes: tuple[str, ...] = ()
        if self.label:
            beside["label"], classes = classify([str(name) for name in kept.names], f"{self.path}: {self.label}")
        about = dict(kept.about)
        categories = tuple(tuple(names) for names in about.pop(CATEGORIES, ()))
        called = [top.names[number] for number in cells.numbers] + list(about.pop(ADDED, ()))
        beside_at = {cells.numbers.index(number) for number in self._beside(top)}
        own = [i for i in range(kept.x.shape[1]) if i not in beside_at]
        names = tuple(called[i] for i in own) if top.named or categories else ()
        categories = tuple(categories[i] for i in own) if categories else ()
        for name, columns in self.conditions.items():
            places = [cells.numbers.index(self._at(top, column, name)) for column in columns]
            beside[name] = np.ascontiguousarray(kept.x[:][:, places])
        x = np.ascontiguousarray(kept.x[:][:, own]) if self.conditions else kept.x
        found = Dataset(x, beside, classes, path.stem, names, notes=about, categories=categories)
        self._warn_constant(found)
        return found

    def glance(self) -> Glance:
        """How many columns of numbers there are, and whether a label is named."""
        path, top, cells = self._open()
        shape = (len(cells.numbers) - len(self._beside(top)),)
        return Glance(shape, bool(self.label), mixed=self._is_mixed(path, top, cells))

    def _open(self) -> tuple[Path, Head, Cells]:
        """The file, its first line, and which columns are numbers and which is the label."""
        path = Path(self.path)
        if not path.is_file():
            raise Refused(f"there is no file {self.path}" + (" (a folder: use data.name=folder)" * path.is_dir()))
        top = named(path, head(path))
        label = None if not self.label else self._at(top, self.label, "label")
        if self.columns:
            numbers = tuple(self._at(top, name, "columns") for name in self.columns)
            if len(set(numbers)) < len(numbers):
                raise Refused(f"columns = {', '.join(self.columns)}: each can be taken once")
        else:
            numbers = tuple(i for i in range(len(top.names)) if i != label)
        if label in numbers:
            raise Refused(f"{self.label!r} is the label, and columns = takes it as a number too")
        beside = self._beside(top)
        numbers = (*(i for i in numbers if i not in beside), *beside)
        if label in beside:
            raise Refused(f"{self.label!r} is the label, and conditions = takes it as a number too")
        if len(numbers) == len(beside):
            raise Refused(f"{self.path} has no column of numbers beside its label" + " and conditions" * bool(beside))
        return path, top, Cells(top.delimiter, len(top.names), numbers, label)

    def _is_mixed(self, path: Path, top: Head, cells: Cells) -> bool:
        """Whether there are categories, as far as the first lines tell."""
        numeric = {*self._beside(top), *(self._at(top, name, "numeric") for name in self.numeric)}
        return bool(self.categorical) or self.missing == "impute" or has_words(path, top, cells, numeric)

    def _parser(self, path: Path, top: Head, cells: Cells) -> tuple[Parsed, dict[str, object]]:
        """What reads the lines, and what is known of their columns then."""
        if not self._is_mixed(path, top, cells):
            return cells, {}
        numeric = {self._at(top, name, "numeric") for name in self.numeric} | set(self._beside(top))
        categorical = {self._at(top, name, "categorical") for name in self.categorical}
        if both := numeric & categorical:
            raise Refused(
                f"{top.names[min(both)]!r} is categorical, and numeric = or conditions = takes it as a number"
            )
        found = mixed_cells(path, top, cells, numeric, categorical, self.missing == "impute")
        added = [f"{top.names[cells.numbers[place]]} missing" for place in found.filled]
        categories = [*found.categories, *([NO_YES] * len(added))]
        return found, {CATEGORIES: categories, ADDED: added} if any(categories) else {}

    def _beside(self, top: Head) -> tuple[int, ...]:
        """The columns that are conditions; raises Refused for one that is taken twice, and for a second label."""
        refuse_label(self.conditions)
        found = [self._at(top, column, name) for name, columns in self.conditions.items() for column in columns]
        if len(set(found)) < len(found) or not all(self.conditions.values()):
            raise Refused("conditions = names columns, each of which can be taken once, and at least one a condition")
        return tuple(found)

    def _at(self, top: Head, name: str, what: str) -> int:
        if name not in top.names:
            called = ", ".join(top.names[:20]) + (", ..." if len(top.names) > 20 else "")
            raise Refused(f"{self.path} has no column {name!r} for {what}{near(name, top.names)}; it has: {called}")
        return top.names.index(name)

    def _parsed(self, path: Path, top: Head, cells: Cells, there: Path) -> Kept:
        """The numbers of all lines; the label's words stand where items have their names."""
        wrong = _Wrong(len(top.names) == 1)
        words: list[str] = []
        parsed, about = self._parser(path, top, cells)
        most = 0

        def parts() -> Iterator[np.ndarray]:
            with tqdm(
                total=path.stat().st_size, unit="B", unit_scale=True, desc="reading", delay=2, leave=False
            ) as bar:
                for first, lines, size in blocks(path, top.skip):
                    x, labels = self._numbers(first, lines, parsed, wrong)
                    words.extend(labels)
                    bar.update(size)
                    if len(x):
                        yield x
            about.update(self._settle(wrong, len(words) if self.label else most))

        with path.open("rb") as file:
            most = 1 + sum(map(_ends, iter(lambda: file.read(2**24), b"")))
        kept = gather(there, parts(), most, Kept(np.empty(0), {}, words, about))
        if not len(kept.x):
            self._settle(wrong, 0)
            raise Refused(f"{self.path} has no lines of numbers")
        return kept

    def _numbers(self, first: int, lines: list[str], cells: Parsed, wrong: "_Wrong") -> tuple[np.ndarray, list[str]]:
        """The numbers and labels of some lines, those left out that have none; first: the number of the first line."""
        try:
            return cells.parse(lines)
        except ValueError:
            bad = {i: why for i, why in enumerate(map(cells.why, lines)) if why}
            for i, why in bad.items():
                wrong.add(first + i, lines[i], why)
            try:
                return cells.parse([line for i, line in enumerate(lines) if i not in bad])
            except ValueError as error:
                raise Refused(f"{self.path} cannot be read from line {first} on: {error}") from None

    def _settle(self, wrong: "_Wrong", count: int) -> dict[str, object]:
        if not wrong.count:
            return {}
        said = f"{self.path} has {wrong.count:,} line{'s' * (wrong.count > 1)} that cannot be read: {wrong.first}"
        if not self.skip_broken or not count:
            raise Refused(f"{said}\nMend them, or go on without them: --skip-broken{_advice(wrong)}")
        logging.getLogger("undiffuse").warning("%s; left out", said)
        return {"broken": {"count": wrong.count, "examples": wrong.examples}}

    def _warn_constant(self, found: Dataset) -> None:
        flat = [i for i in range(found.shape[0]) if _constant(found, i)]
        if flat and len(found) > 1:
            names: Sequence[str] = [found.columns[i] if found.columns else str(i) for i in flat[:NAMED]]
            more = f" and {len(flat) - NAMED} more" if len(flat) > NAMED else ""
            logging.getLogger("undiffuse").warning(
                "%s: constant columns teach nothing: %s%s", self.path, ", ".join(names), more
            )


@dataclass
class _Wrong:
    """Lines that cannot be read: how many, and the first of them; alone: a line is one cell."""

    alone: bool
    count: int = 0
    first: str = ""
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, number: int, line: str, why: str) -> None:
        self.count += 1
        shown = line if len(line) <= 80 else line[:77] + "..."
        if not self.first:
            self.first = f"line {number} ({why}): {shown}"
        if len(self.examples) < NAMED:
            self.examples[f"line {number}"] = why


def _advice(wrong: _Wrong) -> str:
    """What else to do about a line that cannot be read."""
    known = {"is no number": "; a column of words is named with categorical=", "is empty": "; or missing=impute"}
    said = "".join(advice for reason, advice in known.items() if reason in wrong.first)
    return said + "; cells are parted by commas, semicolons or tabs" * wrong.alone


def _ends(block: bytes) -> int:
    """How many lines end in this block."""
    return block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")


def _constant(found: Dataset, column: int) -> bool:
    """Whether a column never changes; nearly all show that they do in their first lines."""
    value = found.x[0][column]
    if (found.x[:1000][:, column] != value).any():
        return False
    return all((found.x[i : i + 2**16][:, column] == value).all() for i in range(1000, len(found), 2**16))
