"""Samples of a table as a data frame: names, words, dates, missing cells and the label are where the data had them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.recipes.description import Described
from undiffuse.sampling.dates import UNITS

if TYPE_CHECKING:
    from polars import DataFrame, Series

TABLE = "table"  # where a run's facts say what its data's columns were, see `data.table`


def columns(model: Described) -> tuple[str, ...]:
    """The names of the columns of the table that a model was trained on; nothing if they had none."""
    names = model.facts.get("data", {}).get("columns", ())
    return tuple(map(str, names)) if len(model.data_shape) == 1 and len(names) == model.data_shape[0] else ()


def frame(model: Described, x: Any, labels: Sequence[Any] | np.ndarray | None = None) -> "DataFrame":
    """Rows x (n, columns) in the data's units, as a polars data frame with the data's own columns.

    Whole numbers are integers, categories their names, dates dates; a cell that was missing is null. The columns stand
    as in the file, the label among them where labels are given: class numbers or names, (n,). `to_pandas()` of what is
    returned is a pandas data frame. Raises Refused for samples that are no rows.
    """
    import polars as pl

    rows = np.asarray(x)
    if rows.ndim != 2:
        raise Refused(f"samples of shape {rows.shape[1:]} are no rows of a table: a data frame has columns")
    told = _told(model)
    names = columns(model) or tuple(f"x{i}" for i in range(rows.shape[1]))
    categories: Sequence[Sequence[str]] = model.codec.categories or ((),) * len(names)
    numbers = [name for name, words in zip(names, categories, strict=True) if not words]
    places = dict(zip(numbers, model.codec.decimals, strict=False))
    holes = {hole: name for name, hole in told.get("holes", {}).items()}
    made: dict[str, Series] = {}
    for name, words, column in zip(names, categories, rows.T, strict=True):
        if name in holes:
            continue
        if words:
            made[name] = _words(name, words, column)
        elif name in told.get("dates", {}):
            made[name] = _date(name, told["dates"][name]["unit"], column)
        else:
            base, shown = told.get("bases", {}).get(name, 0), told.get("shown", {}).get(name, 0)
            whole = rows.dtype.kind in "iu" or (places.get(name) == 0 and not shown)
            made[name] = _number(name, column, base, whole=whole)
    for hole, name in holes.items():
        there = rows[:, names.index(hole)] < 0.5
        made[name] = pl.select(pl.when(pl.Series(there)).then(made[name]).otherwise(None).alias(name)).to_series()
    if labels is not None:
        label = str(told.get("label") or model.recipe["data"].get("label") or "label")
        given = [model.classes[i] if isinstance(i, int) else str(i) for i in np.asarray(labels).tolist()]
        made[label] = _words(label, (), given)
    order = [name for name in told.get("order", ()) if name in made]
    return pl.DataFrame([made[name] for name in [*order, *(name for name in made if name not in order)]])


def cells(model: Described, found: "DataFrame") -> "DataFrame":
    """A frame's cells as text, as the data's file wrote them; a missing one is empty."""
    import polars as pl

    told = _told(model)
    numbers = [name for name in found.columns if found[name].dtype == pl.Float64]
    texts: list[Series] = []
    for name in found.columns:
        column = found[name]
        if name in numbers:
            least = told.get("shown", {}).get(name, 0)
            written = [None if v is None else _decimal(v, least) for v in column.to_list()]
            texts.append(pl.Series(name, written, pl.String))
        elif name in told.get("dates", {}):
            texts.append(column.dt.strftime(told["dates"][name]["format"]))
        else:
            texts.append(column.cast(pl.String))
    return pl.DataFrame(texts).fill_null("")


def _told(model: Described) -> Mapping[str, Any]:
    """What the run knows of its data's columns; nothing of data that were no table."""
    return model.facts.get("data", {}).get(TABLE, {})


def _words(name: str, words: Sequence[str], column: Any) -> "Series":
    """Categories by their names, whole numbers where all names are; an empty name is a missing cell.

    words: what the numbers of the column count; (): the column holds the names themselves.
    """
    import polars as pl

    given = [words[int(i)] for i in column] if words else list(column)
    whole = all(not word or _is_whole(word) for word in words or set(given))
    values = [None if not word else int(word) if whole else word for word in given]
    return pl.Series(name, values, pl.Int64 if whole else pl.String)


def _is_whole(word: str) -> bool:
    """Whether a name is a whole number as programs write it, of 64 bits."""
    digits = word.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) < 19 and str(int(word)) == word


def _number(name: str, column: np.ndarray, base: int, *, whole: bool) -> "Series":
    import polars as pl

    if whole:
        return pl.Series(name, np.rint(column).astype(np.int64) + base)
    return pl.Series(name, [float(str(v)) for v in column] if column.dtype == np.float32 else column, pl.Float64)


def _date(name: str, unit: str, column: np.ndarray) -> "Series":
    """Units since the start of 1970 to dates, and where the unit is finer than a day to times."""
    import polars as pl

    count = np.rint(column).astype(np.int64)
    if unit == "days":
        return pl.Series(name, count.astype(np.int32)).cast(pl.Date)
    return pl.Series(name, count * UNITS[unit]).cast(pl.Datetime("us"))


def _decimal(value: float, least: int) -> str:
    """A number with no more digits than tell it from others, but so many behind the point."""
    if value and not 1e-5 < abs(value) < 1e17:
        return repr(value)
    return np.format_float_positional(value, trim="k" if least else "-", min_digits=least or None)
