"""Opens real data and finished samples by the names that are given on the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from undiffuse.codecs import steps
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data import resolve
from undiffuse.data.dataset import Dataset
from undiffuse.data.derived_conditions import derived, of_model, of_recipe, renumber
from undiffuse.data.paths import on, others
from undiffuse.data.to_predict import aimed
from undiffuse.evaluation import text_files
from undiffuse.recipes import build
from undiffuse.sampling.data_frame import TABLE, columns
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.predicting import PREDICTS
from undiffuse.sampling.run import Run
from undiffuse.storage.notes import VIDEO

SHARE = 0.2  # held out of data that no run has split


@dataclass(frozen=True)
class Real:
    """Real data in two parts: what was trained on and what was held out; warning: why to be careful."""

    train: Dataset
    held_out: Dataset
    warning: str = ""


def open_data(which: str, resize: int | None = None, **fields: Any) -> Dataset:
    """The data that `resolve.open` understands, with these fields of its component; raises Refused if there are none.

    resize: the images of a folder may have different sizes, for they are brought to so many pixels a side.
    """
    mixed = resolve.table(which)["name"] == "folder" and resize is not None
    return resolve.open(which, size=resize, fit="stretch", **fields) if mixed else resolve.open(which, **fields)


def open_samples(path: Path, real: Real, resize: int | None = None) -> Dataset:
    """Finished samples from a file or a folder, with the classes of the real data; raises Refused if there are none."""
    if not path.exists():
        raise Refused(f"there is no run and no file of samples at {path}")
    if real.train.spelling:
        return text_files.written(path, real.train)
    return alike(str(path), real.train, resize, **_frames(str(path), path))


def alike(which: str, like: Dataset, resize: int | None = None, **fields: Any) -> Dataset:
    """Data with the columns, and the classes and categories counted as, in other data; raises Refused for categories
    that these do not have, and for numbers of another dtype. fields: of its component.
    """
    if like.spelling:
        return text_files.text(which, like)
    if like.columns and fields.get("name", resolve.table(which)["name"]) == "table":
        kinds = like.categories or ((),) * len(like.columns)
        fields |= _columns(like.columns, kinds, like.notes.get(TABLE, {}))
    data = open_data(which, resize, **fields)
    _refuse_other_numbers(data, like)
    return renumber(recount(data, like), like.classes)


def _refuse_other_numbers(data: Dataset, like: Dataset) -> None:
    """Raises Refused for integers beside floats, and of another dtype: the same number means another thing."""
    kinds, dtypes = data.x.dtype.kind + like.x.dtype.kind, (data.x.dtype, like.x.dtype)
    if like.vocabulary or like.categories or dtypes[0] == dtypes[1] or kinds == "ff":
        return
    raise Refused(
        f"{data.name} is of {dtypes[0]}, and {like.name} of {dtypes[1]}: bring it to {dtypes[1]} and its range"
    )


def counted(which: str, model: Generator, labelled: bool = False, **fields: Any) -> Dataset:
    """Data to score, as `open_data` has them, in the run's own tokens and with the columns and categories that it has;
    raises Refused for symbols, columns and categories that the run does not know. labelled: a table has the label, too.
    """
    codec: Any = model.codec
    if codec.reader is not None:
        key = {"key": model.recipe["data"]["key"]} if "key" in model.recipe["data"] else {}
        return text_files.spelled(which, codec, model.data_shape[0], "what the run has learned", **key)
    names, kinds = columns(model), codec.categories
    told = {TABLE: model.facts.get("data", {}).get(TABLE, {})}
    fields = others(which, model.recipe, model.data_shape) | fields
    if names and fields["name"] == "table":
        label = {"label": model.recipe["data"].get("label", "")} if labelled else {}
        fields |= _columns(names, kinds or ((),) * len(names), told[TABLE]) | label
    data = open_data(which, **fields)
    if not set(names) >= set(data.columns) or not data.columns:
        return data
    x = np.zeros((1, len(names)), data.x.dtype)
    known = Dataset(x, columns=names, categories=kinds, name="the run", notes=told)
    return recount(data, known)


def _columns(names: Sequence[str], kinds: Sequence[Sequence[str]], told: Mapping[str, Any]) -> dict[str, Any]:
    """What to ask of a table so that it has these columns; those that say where numbers are missing it adds itself.

    told: what is known of the file that they come from, see `data.table`.
    """
    added, dates = told.get("holes", {}).values(), told.get("dates", {})
    own = {name: bool(words) for name, words in zip(names, kinds, strict=True) if name not in added}
    return {
        "missing": "keep" if added else "refuse",
        "columns": list(own),
        "numeric": [name for name, of in own.items() if not of and name not in dates],
        "categorical": [name for name, of in own.items() if of],
        "dates": {name: date["format"] for name, date in dates.items()},
    }


def recount(data: Dataset, like: Dataset) -> Dataset:
    """The data with the columns of `like`: categories and whole numbers counted as there, and no number missing where a
    column says which are and the data have none; raises Refused for categories that `like` does not have.
    """
    data = _in_dtype(data, like.x.dtype)
    told, own = like.notes.get(TABLE, {}), data.notes.get(TABLE, {})
    lacking = [name for name in told.get("holes", {}).values() if name not in data.columns]
    bases, others = told.get("bases", {}), own.get("bases", {})
    if (*data.columns, *lacking) != like.columns or (not like.categories and bases == others):
        return data
    x = np.concatenate([np.array(data.x), np.zeros((len(data), len(lacking)), data.x.dtype)], axis=1)
    kinds = [*(data.categories or ((),) * len(data.columns)), *([("no", "yes")] * len(lacking))]
    for i, (names, known) in enumerate(zip(kinds, like.categories or kinds, strict=True)):
        new = [name for name in names if name not in known]
        if new:
            raise Refused(f"{data.name} has {new[0]!r} in column {data.columns[i]!r}, which {like.name} does not")
        if names:
            x[:, i] = np.array([known.index(name) for name in names])[x[:, i].astype(np.int64)]
    for name in {*bases, *others}:
        x[:, data.columns.index(name)] += others.get(name, 0) - bases.get(name, 0)
    return replace(data, x=x, columns=(*data.columns, *lacking), categories=like.categories, known=None)


def _in_dtype(data: Dataset, dtype: np.dtype) -> Dataset:
    """Rows of a table in this dtype: two files of one table may differ in how fine their numbers are."""
    if data.x.ndim != 2 or data.x.dtype == dtype or {data.x.dtype.kind, dtype.kind} != {"f"}:
        return data
    x = np.array(data.x, np.float64)
    for i, column in enumerate(np.array(data.x).T):
        count = steps.places(column)
        x[:, i] = np.round(x[:, i], count) if count >= 0 else x[:, i]
    return replace(data, x=x.astype(dtype), known=None)


def split(which: str, resize: int | None = None, samples: Path | None = None) -> Real:
    """Any data in two parts; an item's part depends on the item alone, so that a run's held-out items stay held out.

    samples: finished videos, of as many frames as which videos are cut into clips.
    """
    return Real(*open_data(which, resize, **_frames(which, samples)).split(SHARE))


def _frames(which: str, samples: Path | None) -> dict[str, int]:
    """The field that cuts videos into clips as long as the first of the samples; {} of other data."""
    tables = [resolve.table(each) for each in (which, *([str(samples)] if samples and samples.exists() else []))]
    if len(tables) < 2 or any(table["name"] != VIDEO for table in tables):
        return {}
    seen = registry.build("data", {**tables[1], "frames": 0}).peek()
    return {"frames": seen.shape[1]}


def of_run(model: Run) -> Real:
    """The data that a run was trained on, and what it held out. Raises Refused if it held nothing out."""
    share = build.training(model.recipe).held_out
    if not share:
        raise Refused("the run held nothing out (train.held_out = 0): name data that it has not seen with --against")
    train, held_out = of_model(model).split(share)
    then = model.facts.get("data", {}).get("digest")
    changed = then is not None and then != train.describe()["digest"]
    return Real(
        train.compared(),
        held_out,
        "the data has changed since the run was trained, so that held-out items may have been trained on"
        if changed
        else "",
    )


def against(model: Run, which: str | None) -> Real:
    """The data to judge a run against: its held-out part, or other data without the items that it was trained on.

    Raises Refused if nothing of the other data is new to the run.
    """
    if which is None:
        return of_run(model)
    share = build.training(model.recipe).held_out
    learned = of_model(model)
    learned = (learned.split(share)[0] if share else learned).compared()
    told = learned.notes.get(PREDICTS, {})
    if model.codec.space:
        other = of_recipe(on(model.recipe, which))
    elif told.get("reads") and resolve.table(which)["name"] == "table":
        other = aimed(model, which)
    else:
        fields = {} if learned.spelling else others(which, model.recipe, model.data_shape)
        other = derived(alike(which, learned, **fields), model.conditions)
    if other.drawn:
        return Real(learned, other)
    new = np.flatnonzero(~np.isin(other.survey().hashes, learned.survey().hashes))
    if not len(new):
        raise Refused(
            f"every item of {which} was trained on: leave --against away to judge against the run's held-out part"
        )
    warning = f"{len(other) - len(new)} items of {which} were trained on and left out" if len(new) < len(other) else ""
    return Real(learned, other.take(new), warning)
