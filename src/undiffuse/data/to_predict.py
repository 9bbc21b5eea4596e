"""Rows whose target is to be predicted: a file, a data frame or an array, as the numbers that a run predicts from."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data import resolve
from undiffuse.data.tables.inputs import TableInputs
from undiffuse.recipes.description import Described
from undiffuse.sampling.predicting import PREDICTS

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


def _frame(given: Any) -> "DataFrame | None":
    """A data frame of polars, where these are columns by name; else None."""
    import polars as pl

    if isinstance(given, pl.DataFrame):
        return given
    if type(given).__module__.startswith("pandas"):
        given = given.to_dict("list")
    return pl.DataFrame(dict(given), strict=False) if isinstance(given, Mapping) else None


def _rows(x: np.ndarray) -> np.ndarray:
    if x.ndim < 2 or x.dtype.kind not in "uif":
        raise Refused(
            f"rows to predict from are an array of numbers (rows, ...), not one of shape {x.shape}, {x.dtype}"
        )
    return x.reshape(len(x), -1).astype(np.float32)
