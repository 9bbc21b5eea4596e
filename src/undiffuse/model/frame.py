"""A table's samples as a data frame: columns by name, categories by name, numbers with the data's decimals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from polars import DataFrame

    from undiffuse.model.description import Description
    from undiffuse.model.saved import Saved


def columns(model: "Description | Saved") -> tuple[str, ...]:
    """The names of the columns of the table that a model was trained on; nothing if they had none."""
    names = model.facts.get("data", {}).get("columns", ())
    return tuple(map(str, names)) if len(model.shape) == 1 and len(names) == model.shape[0] else ()


def frame(model: "Description | Saved", x: np.ndarray, labels: Sequence[str] | None = None) -> "DataFrame":
    """The rows (n, columns) as a polars data frame; labels: the name of each row's class, in the label's own column."""
    import polars

    codec: Any = model.codec
    names = columns(model) or tuple(f"x{i}" for i in range(x.shape[1]))
    categories = getattr(codec, "categories", ()) or ((),) * len(names)
    decimals = iter(getattr(codec, "decimals", ()))
    found = {}
    for name, column, words in zip(names, x.T, categories, strict=True):
        if words:
            found[name] = polars.Series(name, [words[int(place)] for place in column])
            continue
        places = next(decimals, -1)
        values = np.round(column.astype(np.float64), places) if places >= 0 else column
        whole = places == 0 and bool(np.isfinite(values).all())
        found[name] = polars.Series(name, values.astype(np.int64) if whole else values)
    if labels is not None:
        found[str(model.recipe["data"].get("label") or "label")] = polars.Series(list(labels))
    return polars.DataFrame(found)
