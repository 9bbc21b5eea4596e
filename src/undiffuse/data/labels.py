"""Labels as people write them, numbers or words, to classes counted from 0."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.lines import OPEN, blank, cut, delimiter_of
from undiffuse.model.files import read_text

MOST_CLASSES = 10_000
LIMIT = 2**28  # bytes of a file of labels


def classify(values: Sequence[str], where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(count,) class numbers and the classes' names.

    Whole numbers count classes from 0; anything else names them, in alphabetical order. Raises Refused for too many.
    """
    names = sorted(set(values))
    if all(name.isdecimal() and name.isascii() for name in names):
        if any(len(name) > 5 for name in names):
            raise Refused(
                f"{where} goes up to {max(names, key=len)}; classes count from 0 and stay below {MOST_CLASSES}"
            )
        return numbered(np.array([int(value) for value in values]), where)
    if "" in names:
        raise Refused(f"{where} is empty for {values.count('')} of {len(values)} items")
    if all(_is_whole(name) for name in names):
        raise Refused(f"{where} goes down to {min(names, key=int)}; classes count from 0")
    if len(names) > MOST_CLASSES:
        raise Refused(f"{where} has {len(names)} different values, more than {MOST_CLASSES}: is it a label?")
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[value] for value in values], np.int64), tuple(names)


def numbered(labels: np.ndarray, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers as int64 and the classes called 0, 1 ...; raises Refused if they do not count from 0."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise Refused(f"{where} must be integers that count classes from 0; its dtype is {labels.dtype}")
    if labels.min() < 0 or labels.max() >= MOST_CLASSES:
        raise Refused(
            f"{where} goes from {labels.min()} to {labels.max()}; classes count from 0 and stay below {MOST_CLASSES}"
        )
    return labels.astype(np.int64), tuple(map(str, range(int(labels.max()) + 1)))


def of_files(path: str, files: Sequence[str], what: str = "label") -> list[str]:
    """The label of each file, from a .csv with the columns file and label, or a .json of {file: label}.

    A .json may also hold {"labels": [[file, label], ...]}. what: the column's name, and what it holds.
    Raises Refused for files without a label.
    """
    pairs = _json_pairs(path) if path.lower().endswith(".json") else _csv_pairs(path, what)
    missing = [file for file in files if file not in pairs]
    if missing:
        raise Refused(f"{path} has no {what} for {len(missing)} of {len(files)} images, such as {missing[0]}")
    return [pairs[file] for file in files]


def column(path: str, what: str = "label") -> list[str]:
    """One label an item, from a .csv of one column, or of several with one that is called so."""
    rows = _rows(path)
    heads = [head.strip().lower() for head in rows[0]]
    if what in heads:
        at, rows = heads.index(what), rows[1:]
    elif len(heads) > 1:
        raise Refused(f"{path} has {len(heads)} columns and none is called {what}; it has: {', '.join(rows[0])}")
    else:
        at = 0
    _refuse_ragged(path, rows, len(heads))
    return [row[at].strip() for row in rows]


def _csv_pairs(path: str, what: str) -> dict[str, str]:
    rows = _rows(path)
    heads = [head.strip().lower() for head in rows[0]]
    at, label = (heads.index("file"), heads.index(what)) if {"file", what} <= set(heads) else (0, 1)
    if len(heads) < 2:
        raise Refused(f"{path} has one column; it needs two: file,{what}")
    _refuse_ragged(path, rows, len(heads))
    return {row[at].strip(): row[label].strip() for row in rows}


def _json_pairs(path: str) -> dict[str, str]:
    try:
        content = json.loads(read_text(Path(path), "labels", LIMIT))
        if isinstance(content, dict) and isinstance(content.get("labels"), list):
            content = dict(content["labels"])
        pairs = {file: str(value) for file, value in content.items() if isinstance(value, str | int)}
    except (ValueError, RecursionError, TypeError, AttributeError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f'{path} holds no labels: write {{"a.png": "cat", ...}} ({error})') from None
    return pairs


def _rows(path: str) -> list[list[str]]:
    """The rows of a small .csv, whatever parts its cells."""
    lines = read_text(Path(path), "labels", LIMIT).removeprefix("\ufeff").splitlines()
    delimiter = delimiter_of(lines)
    rows = [(place, row) for place, _, row in cut(lines, delimiter) if lines[place].strip(blank(delimiter))]
    broken = next((place for place, row in rows if not row), None)
    if broken is not None:
        raise Refused(f"{path} is no table of labels: line {broken + 1}: {OPEN}")
    if not rows:
        raise Refused(f"{path} is empty")
    return [row for _, row in rows]


def _refuse_ragged(path: str, rows: list[list[str]], width: int) -> None:
    for i, row in enumerate(rows):
        if len(row) != width:
            raise Refused(f"{path}: row {i + 1} has {len(row)} cells instead of {width}: {','.join(row)[:80]}")


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
