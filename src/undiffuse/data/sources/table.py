"""Your own table: a .csv or .tsv file of numbers, words and dates, one item a line."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from undiffuse.core.errors import Refused, near, some
from undiffuse.data.condition_files import refuse_label
from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import Decoded, find, gather, place
from undiffuse.data.labels import classify
from undiffuse.data.predictive import PREDICTS, TARGET
from undiffuse.data.source import Peek, Stored
from undiffuse.data.tables.columns import Column, decide, setting
from undiffuse.data.tables.columns_reader import BrokenLines, Reading, Surveyed, survey
from undiffuse.data.tables.head import Header, TableHead, head
from undiffuse.data.tables.inputs import TableInputs, is_class, refuse_missing
from undiffuse.data.tables.kinds import unit
from undiffuse.sampling.data_frame import TABLE

NAMED = 5
WORDS = "words"  # of the label, as they are kept


@dataclass(frozen=True)
class TableData(Stored):
    """A .csv or .tsv file, (count, columns) as float32, or as float64 where float32 would change a number.

    The delimiter is a comma, a semicolon, a tab or a bar. header: whether the first line names the columns; "auto"
    finds it out. encoding: of the text, such as "latin-1". label: the column with the class of an item, by name (or by
    number from 0, where there are no names). columns: those to take, in this order; left empty, all but the label.
    drop: those to leave out. target: the column that is predicted from all others, which become numbers then, one of 1
    and 0 for each category: it is the vector `target` beside them, or of words the label. conditions: columns that make
    a vector beside the items, by its name; they are not among the items' own.
    Words become the numbers of their column's categories; dates, those of ISO 8601 and those whose format `dates` says
    by the column's name, days (or minutes, seconds, microseconds) from 1970. In a table with words a column of few
    whole numbers is categorical as well. numeric, categorical: columns, by name, that are what they are called.
    missing: what becomes of numbers that are missing. "keep": the column's middle number stands there, and a column
    `NAME missing` of no and yes behind all others says where, so that samples have missing cells at their rate;
    "impute": only the number; "refuse": the line is broken. Of categories what is missing is one of them, "".
    skip_broken: leave out lines with text among numbers, or too few or too many cells; None: nothing can be left out.
    """

    path: str
    label: str = ""
    columns: tuple[str, ...] = ()
    skip_broken: bool | None = False
    conditions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    missing: Literal["keep", "impute", "refuse"] = "keep"
    drop: tuple[str, ...] = ()
    header: Header = "auto"
    encoding: str = "utf-8"
    dates: dict[str, str] = field(default_factory=dict)
    target: str = ""

    aliases: ClassVar[tuple[str, ...]] = ("csv", "tsv")

    def load(self) -> Dataset:
        """All lines; raises Refused, showing the first one that cannot be read, and counting them."""
        reading, count = self._open()
        there = place(self.key, [reading.path])
        kept = find(there) or self._gathered(reading, count, there)
        about, beside, classes = dict(kept.about), dict(kept.beside), ()
        if reading.label is not None:
            numbers, classes = classify(about.pop(WORDS), f"{self.path}: {reading.top.names[reading.label]}")
            beside["label"] = numbers[beside["label"]]
        aside = (*self._beside(reading.top), *self._aimed(reading))
        at = {column.at: i for i, column in enumerate(reading.columns)}
        for name, given in self.conditions.items():
            places = [at[self._at(reading.top, each, name)] for each in given]
            beside[name] = np.ascontiguousarray(kept.x[:][:, places])
        own = [i for i in range(len(reading.names)) if i >= len(at) or reading.columns[i].at not in aside]
        named = reading.top.named or any(reading.categories)
        kinds = tuple(reading.categories[i] for i in own)
        x, names = np.ascontiguousarray(kept.x[:][:, own]) if aside else kept.x, tuple(reading.names[i] for i in own)
        notes = {**about, TABLE: self._told(reading, aside)}
        if self.target:
            read = tuple(column for column in reading.columns if column.at not in aside)
            inputs = TableInputs(read, tuple(reading.holes), reading.top.named, self.encoding)
            told = {"name": self.target, "targets": [self.target], **inputs.described()}
            told |= {"aim": asdict(reading.columns[at[place]]) for place in self._aimed(reading)}  # noqa: B035 - one
            notes = {**about, PREDICTS: told}
            x, names, kinds = inputs.numbers(np.asarray(x[:])), inputs.names, ()
        for aim in self._aimed(reading):
            beside[TARGET] = np.ascontiguousarray(kept.x[:][:, [at[aim]]])
            if len(kept.x) > 1 and (beside[TARGET] == beside[TARGET][0]).all():
                raise Refused(f"{self.path}: the target {self.target!r} is the same in all rows: nothing to predict")
        found = Dataset(
            x,
            beside,
            classes,
            reading.path.stem,
            names if named or self.target else (),
            notes=notes,
            categories=kinds if any(kinds) else (),
        )
        self._warn_constant(found)
        return found

    def peek(self) -> Peek:
        """How many columns there are, whether a label is named, and whether there are categories."""
        reading, _ = self._open()
        count = len(reading.names) - len(self._beside(reading.top)) - len(self._aimed(reading))
        return Peek((count,), reading.label is not None, mixed=any(reading.categories) and not self.target)

    def _open(self) -> tuple[Reading, int]:
        """How the file becomes numbers, and how many lines it has."""
        path = Path(self.path)
        if not path.is_file():
            raise Refused(f"there is no file {self.path}" + (" (a folder: use --set data.name=folder)" * path.is_dir()))
        asked = {*self.columns, *self.numeric, *self.categorical, *self.drop, *self.dates, self.label, self.target}
        asked -= {""}
        top = head(path, self.encoding, self.header, asked)
        if self.label and self.target:
            raise Refused(
                f"target = {self.target!r} is what is predicted, and label = {self.label!r} as well: take one"
            )
        name = self.label or self.target
        label = None if not name else self._at(top, name, "target" if self.target else "label")
        wanted, beside = self._wanted(top, label), self._beside(top)
        numeric = {self._at(top, name, "numeric") for name in self.numeric}
        forms = {self._at(top, name, "dates"): form for name, form in self.dates.items()}
        categorical = {self._at(top, name, "categorical") for name in self.categorical}
        if both := categorical & {*numeric, *beside, *forms} - {label}:
            raise Refused(
                f"{top.names[min(both)]!r} is categorical, and numeric =, dates = or conditions = takes it as a number"
            )
        found = survey(path, self.encoding, top, wanted if label is None else (*wanted, label), categorical)
        if not found.count:
            raise Refused(f"{self.path} has no lines of numbers")
        if self.target and label is not None:
            refuse_missing(self.path, self.target, found.seen[-1][1], bool(self.skip_broken))
            if not is_class(found.seen[-1][1], label in categorical):
                wanted, beside, label = (*wanted, label), (*beside, label), None
        mark = self.missing == "keep"
        columns = decide(path, top.names, found.seen[: len(wanted)], numeric, categorical, beside, forms, mark)
        self._warn(top, found, columns, label)
        may = self.missing != "refuse"
        columns = [replace(each, holes=each.holes and may and each.at not in beside) for each in columns]
        return Reading(path, self.encoding, top, tuple(columns), label, mark).filled(), found.count

    def _wanted(self, top: TableHead, label: int | None) -> tuple[int, ...]:
        """The places of the columns that are read, those of conditions last."""
        left_out = {self._at(top, name, "drop") for name in self.drop}
        if self.columns:
            numbers = tuple(self._at(top, name, "columns") for name in self.columns)
            if len(set(numbers)) < len(numbers):
                raise Refused(f"columns = {', '.join(self.columns)}: each can be taken once")
        else:
            numbers = tuple(i for i in range(len(top.names)) if i != label)
        beside = self._beside(top)
        if label is not None and label in {*numbers, *beside}:
            name = "conditions" if label in beside else "columns"
            what = "the target" if self.target else "the label"
            raise Refused(f"{top.names[label]!r} is {what}, and {name} = takes it as a number too")
        own = tuple(i for i in numbers if i not in beside and i not in left_out)
        if not own:
            raise Refused(f"{self.path} has no column of numbers beside its label" + " and conditions" * bool(beside))
        return (*own, *beside)

    def _aimed(self, reading: Reading) -> tuple[int, ...]:
        """The place of a target that is a number, where there is one."""
        return (self._at(reading.top, self.target, "target"),) if self.target and reading.label is None else ()

    def _beside(self, top: TableHead) -> tuple[int, ...]:
        """The columns that are conditions; raises Refused for one that is taken twice, and for a second label."""
        refuse_label(self.conditions)
        found = [self._at(top, column, name) for name, columns in self.conditions.items() for column in columns]
        if len(set(found)) < len(found) or not all(self.conditions.values()):
            raise Refused("conditions = names columns, each of which can be taken once, and at least one a condition")
        return tuple(found)

    def _at(self, top: TableHead, name: str, what: str) -> int:
        if name not in top.names:
            called = ", ".join(top.names[:20]) + (", ..." if len(top.names) > 20 else "")
            raise Refused(f"{self.path} has no column {name!r} for {what}{near(name, top.names)}; it has: {called}")
        return top.names.index(name)

    def _gathered(self, reading: Reading, count: int, there: Path) -> Decoded:
        """The numbers of all lines; the label's words, which its numbers count, are kept among the facts."""
        import polars as pl

        wrong, labels = BrokenLines(), []
        about: dict[str, Any] = {}
        beside: dict[str, np.ndarray] = {}

        def parts() -> Any:
            left = 0
            for part in reading.rows(wrong, labels):
                left += len(part)
                yield part
            about.update(wrong.settle(self.path, self.skip_broken, left))
            if labels and left:
                words: pl.Series = pl.concat(labels)
                kept = words.unique(maintain_order=True)
                about[WORDS] = kept.to_list()
                beside["label"] = words.replace_strict(kept, range(len(kept)), return_dtype=pl.Int64).to_numpy()

        found = gather(there, parts(), count, Decoded(np.empty(0), beside, (), about))
        if not len(found.x):
            wrong.settle(self.path, self.skip_broken, 0)
            raise Refused(f"{self.path} has no lines of numbers")
        return found

    def _told(self, reading: Reading, aside: Sequence[int]) -> dict[str, Any]:
        """What brings samples back to the file's own cells, see `model.frame`: in JSON's types."""
        own = [column for column in reading.columns if column.at not in aside]
        places = sorted(column.at for column in own) if not self.columns else [column.at for column in own]
        if reading.label is not None:
            places = sorted([*places, reading.label]) if not self.columns else [*places, reading.label]
        dates = {each.name: {"format": each.form, "unit": unit(each.form)} for each in own if each.form}
        found = {
            "order": [reading.top.names[place] for place in places],
            "label": self.label,
            "holes": {name: hole for name, hole in reading.holes.items() if name in {each.name for each in own}},
            "dates": dates,
            "bases": {each.name: each.base for each in own if each.base},
            "shown": {each.name: each.shown for each in own if each.shown and not each.form and not each.categories},
        }
        return {name: value for name, value in found.items() if value}

    def _warn(self, top: TableHead, found: Surveyed, columns: Sequence[Column], label: int | None) -> None:
        """Says what a person should look at: numbers as names, a name among the categories, a data frame's index."""
        warn = logging.getLogger("undiffuse").warning
        if top.guessed:
            names = ", ".join(top.names[:NAMED]) + (" ..." if len(top.names) > NAMED else "")
            warn(
                "%s: line 1 is taken as the columns' names, %s; if it is an item: --set data.header=no",
                self.path,
                names,
            )
        words = {column.at for column in columns if column.categories} | {label}
        for at, column in found.seen:
            first = top.first[at] if top.first else ""
            if first and at in words and not column.over and column.cells.get(first) == 1 and len(column.cells) > 1:
                warn(
                    "%s: %r stands in line 1 only; if that line names the columns: --set data.header=yes",
                    self.path,
                    first,
                )
                break
        for at, column in found.seen:
            unnamed = top.names[at] in (f"column{at}", "Unnamed: 0") and at == 0 and top.named
            if unnamed and column.low in (0, 1) and column.high - column.low == column.count - 1 and not column.repeats:
                warn(
                    "%s: its first column counts the lines, as a data frame's index does: leave it out, %s",
                    self.path,
                    setting("drop", top.names[at]),
                )

    def _warn_constant(self, found: Dataset) -> None:
        flat = [i for i in range(found.shape[0]) if _constant(found, i)]
        if flat and len(found) > 1:
            names = some((found.columns[i] if found.columns else str(i) for i in flat), NAMED)
            logging.getLogger("undiffuse").warning("%s: constant columns teach nothing: %s", self.path, names)


def _constant(found: Dataset, column: int) -> bool:
    """Whether a column never changes; nearly all show that they do in their first lines."""
    value = found.x[0][column]
    if (found.x[:1000][:, column] != value).any():
        return False
    return all((found.x[i : i + 2**16][:, column] == value).all() for i in range(1000, len(found), 2**16))
