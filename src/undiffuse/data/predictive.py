"""Data to predict from: the target becomes what is modelled, and the item itself its condition."""

from dataclasses import replace
from typing import Any

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.survey import Survey
from undiffuse.sampling.predicting import PREDICTS

TARGET = "target"  # the condition of items with numbers to be predicted


def of_targets(data: Dataset, name: str) -> Dataset:
    """The data with each item's target, (count, numbers), in the place of the item, and the item as a row of numbers
    under the condition of this name. The target is the condition `target`, or the class: 1 in its column, else 0.

    What is held out is decided by the items, as before. Raises Refused for data without a target, with one that is
    missing, and for items that are no numbers.
    """
    if data.vocabulary or data.categories:
        what = "tokens" if data.vocabulary else "categories"
        raise Refused(
            f"{data.name} has items of {what}, and conditions.{name}.of = 'item' takes numbers: of a table, say which "
            "column is predicted, --set data.target=COLUMN"
        )
    x, columns = _target(data)
    gone = ~np.isfinite(x).all(1)
    if gone.any():
        raise Refused(
            f"{data.name}: the target of {gone.sum():,} of {len(x):,} items is missing or no finite number, the first "
            f"is item {int(gone.argmax())}: leave these items out"
        )
    counted = TARGET not in data.conditions
    seen = Survey(x, data.survey().hashes, x.min(1), x.max(1))
    own: dict[str, Any] = dict(data.notes.get(PREDICTS, {}))
    told = {**own, "targets": list(columns), "columns": list(data.columns), "classes": counted}
    others = {key: values for key, values in data.conditions.items() if key not in (TARGET, "label")}
    rows = np.asarray(data.x[:]).reshape(len(x), -1)
    inputs = rows if rows.dtype == np.float64 else rows.astype(np.float32)
    notes = {**data.notes, PREDICTS: told}
    return replace(
        data, x=x, conditions={**others, name: inputs}, classes=(), columns=columns, notes=notes, names=(), known=seen
    )


def refuse_untold(data: Dataset) -> None:
    """Raises Refused for data that have neither a target nor labels."""
    if TARGET not in data.conditions and data.labels is None:
        raise Refused(
            f"{data.name} has no target and no label to predict: of a table, say which column it is, "
            "--set data.target=COLUMN"
        )


def _target(data: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
    """The targets, (count, numbers), and what they are called."""
    if TARGET in data.conditions:
        x = np.ascontiguousarray(data.conditions[TARGET])
        names = tuple(data.notes.get(PREDICTS, {}).get("targets", ()))
        return x.reshape(len(x), -1), names or tuple(f"y{i}" for i in range(x.reshape(len(x), -1).shape[1]))
    refuse_untold(data)
    return np.eye(len(data.classes), dtype=np.float32)[data.labels], data.classes
