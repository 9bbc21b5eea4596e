"""Rows whose target is to be predicted: a file, a data frame or an array, as the numbers that a run predicts from."""

from collections.abc import Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data import resolve
from undiffuse.data.dataset import Dataset
from undiffuse.data.labels import same_class
from undiffuse.data.survey import Survey, survey
from undiffuse.data.tables.columns import Column
from undiffuse.data.tables.inputs import TableInputs
from undiffuse.recipes.description import Described
from undiffuse.sampling.predicting import PREDICTS, inputs_name

if TYPE_CHECKING:
    from polars import DataFrame


def inputs(model: Described, given: Any) -> "tuple[np.ndarray, DataFrame | None]":
    """The numbers that a run predicts from, (rows, numbers), and of a table its cells as they were.

    given: the path of a table or of other data, as for training; a data frame of polars or pandas, or columns by name;
    an array (rows, ...). The target need not be there. Raises Refused, by name, for columns that are missing and for
    cells that cannot be read.
    """
    columns = TableInputs.of(model.facts.get("data", {}).get(PREDICTS, {}))
    if isinstance(given, str | Path):
        if columns.columns and resolve.table(str(given))["name"] == "table":
            return columns.read_file(Path(given))
        return _rows(np.asarray(resolve.open(str(given)).x[:])), None
    cells = _frame(given)
    if cells is None:
        return _rows(np.asarray(given)), None
    if not columns.columns:
        raise Refused("this run predicts from items without columns: give an array (rows, ...), not a data frame")
    return columns.read(cells, "the data frame"), cells


def aimed(model: Described, path: str) -> Dataset:
    """The rows of a table with their targets, as `of_targets` gives them, of columns and classes that a run knows.

    Raises Refused as `inputs`, for a table without the target's column, and for targets that are missing or unknown.
    """
    told = model.facts["data"][PREDICTS]
    names, name = tuple(map(str, told["targets"])), str(told["name"])
    x, cells = inputs(model, path)
    if cells is None or name not in cells.columns:
        raise Refused(f"{path} has no column {name!r}, which the run predicts, and so its predictions cannot be judged")
    words = cells[name].str.strip_chars()
    if told.get("classes"):
        known = {word: i for i, word in enumerate(names)}
        places = np.array([known.get(word, known.get(same_class(word), -1)) for word in words.to_list()])
        targets, wrong = np.eye(len(names), dtype=np.float32)[places], places < 0
    else:
        column = Column(**{**told.get("aim", {"at": 0, "name": name}), "categories": ()})
        values, _ = column.values(words.alias(str(column.at)).to_frame())
        targets, wrong = values[:, None].astype(np.float32 if column.narrow else np.float64), np.isnan(values)
    if wrong.any():
        first = int(wrong.argmax())
        raise Refused(f"{path}: the target {name!r} of row {first} is {words[first][:40]!r}, which is none")
    seen = Survey(targets, survey(x, path).hashes, targets.min(1), targets.max(1))
    return Dataset(targets, {inputs_name(model): x}, (), Path(path).stem, names, known=seen)


def _frame(given: Any) -> "DataFrame | None":
    """A data frame of polars, where these are columns by name; else None."""
    import polars as pl

    if isinstance(given, pl.DataFrame):
        return given
    if type(given).__module__.startswith("pandas"):
        if not given.columns.is_unique:
            raise Refused("the data frame has several columns of one name: give each its own name")
        given = {name: column.astype(object).where(column.notna(), None) for name, column in given.items()}
    if not isinstance(given, Mapping):
        return None
    cells = {str(name): _listed(column) for name, column in given.items()}
    counts = {name: len(column) for name, column in cells.items() if isinstance(column, Sized)}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise Refused(f"the columns have different counts of rows: {shown}")
    return pl.DataFrame(cells, strict=False)


def _listed(column: Any) -> Any:
    """A column's values for polars: a list where it is of another library."""
    return [column] if isinstance(column, str) else column.tolist() if hasattr(column, "tolist") else column


def _rows(x: np.ndarray) -> np.ndarray:
    if x.ndim < 2 or x.dtype.kind not in "uif":
        raise Refused(
            f"rows to predict from are an array of numbers (rows, ...), not one of shape {x.shape}, {x.dtype}"
        )
    return x.reshape(len(x), -1)
