"""Labels as people write them, words or numbers, to classes that are counted from 0 and have names."""

import json
import logging
import os
import re
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.tables.csv_reader import OPEN, blank, cut, delimiter_of
from undiffuse.data.walk import same
from undiffuse.storage.files import read_text
from undiffuse.storage.strict_json import utf8

MOST_CLASSES = 10_000
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl")  # that may hold labels, or texts, of files
FILES = ("file", "file_name", "filename", "image", "path")  # what the column of the files may be called
LIMIT = 2**28  # bytes of a file of labels
WHOLE = re.compile(r"(-?[0-9]{1,18})(\.0*)?")  # 3, and 3.0, which is the same class
NAMED = 5  # classes in a message


def classify(
    values: Sequence[Any] | np.ndarray, where: str, names: Sequence[str] = ()
) -> tuple[np.ndarray, tuple[str, ...]]:
    """(count,) class numbers and the names of the classes: what the labels say, and no others.

    values: words, whole numbers (3.0 is 3), or true and false. Numbers are sorted by size, all else by the alphabet.
    names: of all classes that there may be, in their order, those without an item too (see `present`); numbers of an
    array count them from 0, words are some of them.
    Raises Refused for missing labels, fractions, too many classes, and for what is none of the names.
    """
    words, at = _distinct(values, where)
    if "" in words:
        raise Refused(f"{where} is empty for {int((at == words.index('')).sum())} of {len(at)} items")
    if all(map(WHOLE.fullmatch, words)):
        words = list(map(same_class, words))
    if not names and (broken := _fraction(words)):
        raise Refused(f"{where} has the label {broken}: classes are words, or whole numbers")
    counted = isinstance(values, np.ndarray) and values.dtype.kind in "biuf"
    if names and (counted or not set(words) <= set(names)):
        words = _counted(words, names, where, counted)
    order = names or ordered(set(words))
    if len(order) > MOST_CLASSES and len(set(words)) > MOST_CLASSES:
        raise Refused(f"{where} has {len(set(words))} different values, more than {MOST_CLASSES}: is it a label?")
    number = {name: i for i, name in enumerate(order)}
    if len(number) < len(order):
        twice = next(name for i, name in enumerate(order) if number[name] != i)
        raise Refused(f"{where}: two classes are called {twice!r}")
    return np.array([number[word] for word in words], np.int64)[at], tuple(order)


def by_folder(files: Sequence[str], where: str, level: int = 0) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(count,) class numbers by the subfolder, at this level, that each file lies in, and the names of the classes;
    None and no names where no file lies in one.

    Raises Refused where some do and some do not.
    """
    loose = [file for file in files if file.count("/") == level]
    if len(loose) == len(files):
        return None, ()
    if loose:
        raise Refused(
            f"{where} has files both loose ({loose[0]}) and in subfolders "
            f"({max(files, key=lambda file: file.count('/'))}); move all into subfolders, one a class, or none, "
            "or give --set data.labels=none"
        )
    names = [same(file.split("/")[level]) for file in files]
    classes = ordered(set(names))
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[name] for name in names], np.int64), tuple(classes)


def ordered(names: Collection[str]) -> list[str]:
    """Classes in order of size where all are whole numbers, else by the alphabet.

    Raises Refused for the name of a folder that is no UTF-8, which no file of a model could hold.
    """
    if foreign := next((name for name in sorted(names) if not utf8(name)), None):
        raise Refused(f"the class {foreign!a} has a name that is no UTF-8: rename its folder")
    return sorted(sorted(names), key=_size if all(map(WHOLE.fullmatch, names)) else None)


def of_array(
    labels: np.ndarray, count: int, where: str, names: Sequence[str] = ()
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The classes of so many items from an array: one label each, (count,) or (count, 1), or one-hot (count, classes).

    names: as of `classify`. Raises Refused as it does, for another shape, and for rows that name none or two classes.
    """
    if labels.ndim == 2 and len(labels) == count and labels.shape[1] > 1 and labels.dtype.kind in "biuf":
        wrong = np.flatnonzero(((labels != 0).sum(1) != 1) | (labels.max(1) != 1))
        if len(wrong):
            raise Refused(
                f"{where} has shape {labels.shape}: one label each is needed, or rows of zeros and a single 1; row "
                f"{wrong[0]} is {labels[wrong[0]].tolist()[:10]}"
            )
        labels = labels.argmax(1)
    if labels.shape not in ((count,), (count, 1)):
        raise Refused(f"{where} has shape {labels.shape}, and there are {count} items: one label each is needed")
    return classify(labels.reshape(count), where, names)


def present(
    labels: np.ndarray | None, classes: Sequence[str], where: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...], dict[str, Any]]:
    """The condition `label` of data, its classes without those that no item has, and a note that names these.

    Nothing is drawn of a class that there is no item of: nobody could have learned what it looks like.
    """
    if labels is None:
        return {}, (), {}
    found, numbers = np.unique(labels, return_inverse=True)
    used = set(found.tolist())
    kept = tuple(name for i, name in enumerate(classes) if i in used)
    if len(kept) == len(classes):
        return {"label": labels}, kept, {}
    empty = [name for i, name in enumerate(classes) if i not in used]
    shown = ", ".join(empty[:NAMED]) + (" ..." if len(empty) > NAMED else "")
    logging.getLogger("undiffuse").warning(
        "%s: %d of %d classes have no item and are left out: %s", where, len(empty), len(classes), shown
    )
    return {"label": numbers.astype(np.int64)}, kept, {"classes_without_items": empty}


def _size(name: str) -> int:
    return int(name.partition(".")[0])


def _fraction(words: Sequence[str]) -> str:
    """A number that is not whole among labels that are all numbers: "" where there is none."""
    if not all(map(NUMBER.fullmatch, words)):
        return ""
    return next((word for word in words if not float(word).is_integer()), "")


def _distinct(values: Sequence[Any] | np.ndarray, where: str) -> tuple[list[str], np.ndarray]:
    """The different labels as words, "" for a missing one, and the place of each item's among them, (count,)."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        found, at = np.unique(values, return_inverse=True)  # of NaN there is one
        return [word(value, where) for value in found.tolist()], at.reshape(-1)
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "US":
            raise Refused(f"{where} has dtype {values.dtype}: labels are words, whole numbers, or true and false")
        values = np.char.decode(values, "utf-8", "replace").tolist() if values.dtype.kind == "S" else values.tolist()
    number: dict[str, int] = {}
    places = [number.setdefault(word(value, where), len(number)) for value in values]
    return list(number), np.array(places, np.int64)


def word(value: Any, where: str = "a label") -> str:
    """A label as a word, in composed Unicode, as people type it; "" for None and NaN. Raises Refused for a fraction."""
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        if not value.is_integer():
            raise Refused(f"{where} has the label {value}: classes are words, or whole numbers")
        return str(int(value))
    return unicodedata.normalize("NFC", str(value).strip())


def same_class(text: str) -> str:
    """A label of a file as its class is called: 3.0 is 3."""
    found, whole = word(text), WHOLE.fullmatch(word(text))
    return str(int(whole[1])) if whole and whole[2] else found


def _counted(words: Sequence[str], names: Sequence[str], where: str, numbers: bool) -> list[str]:
    """The names of classes that are counted from 0; numbers: so are all, or else some words may be names themselves.

    Raises Refused for what is not the number of a class.
    """
    known = {str(i): name for i, name in enumerate(names)} | ({} if numbers else {name: name for name in names})
    known |= dict(zip(("False", "True"), names, strict=False)) if numbers else {}
    if strange := [word for word in words if word not in known]:
        raise Refused(
            f"{where} has the label {strange[0]}, and names are given for {len(names)} classes, 0 to {len(names) - 1}: "
            + ", ".join(names[:NAMED])
            + " ..." * (len(names) > NAMED)
        )
    return [known[word] for word in words]


def of_files(path: str, files: Sequence[str], what: str = "label", root: str | Path = ".") -> list[str]:
    """The label of each file below `root`, from a table with the columns file and label, or a .json of {file: label}.

    The table is a .csv, .tsv or .txt, or a .jsonl of an object a line; the column of files may also be called
    file_name, filename, image or path. Files are named from `root`, or from where the table lies.
    A .json may also hold {"labels": [[file, label], ...]}. what: the column's name, and what it holds.
    Raises Refused for files without a label, or with two, and for a table that does not say which column is which.
    """
    end = Path(path).suffix.lower()
    said = _json_pairs(path) if end == ".json" else _lines(path, what) if end == ".jsonl" else _csv_pairs(path, what)
    pairs: dict[str, str] = {}
    for file, value in said:
        if pairs.setdefault(same(file).removeprefix("./"), same(value)) != same(value):
            raise Refused(f"{path} has more than one {what} for {file}: leave one of them")
    table = os.path.dirname(path) or "."
    named = [(same(file), same(os.path.relpath(os.path.join(root, file), table))) for file in files]
    missing = [file for file, names in zip(files, named, strict=True) if not set(names) & set(pairs)]
    if missing:
        raise Refused(f"{path} has no {what} for {len(missing)} of {len(files)} images, such as {missing[0]}")
    return [pairs[name if name in pairs else other] for name, other in named]


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


def _csv_pairs(path: str, what: str) -> list[tuple[str, str]]:
    rows = _rows(path)
    heads = [head.strip().lower() for head in rows[0]]
    if len(heads) < 2:
        raise Refused(f"{path} has one column; it needs two: file,{what}")
    file = next((heads.index(name) for name in FILES if name in heads and name != what), None)
    label = heads.index(what) if what in heads else None
    if len(heads) == 2:  # one is known by the other; the first line names none, or no file that is there
        file = (0 if label is None else 1 - label) if file is None else file
        label = 1 - file
    if file is None or label is None:
        missing = what if label is None else FILES[0]
        raise Refused(f"{path} has {len(heads)} columns and none is called {missing}; it has: {', '.join(rows[0])}")
    _refuse_ragged(path, rows, len(heads))
    return [(row[file].strip(), row[label].strip()) for row in rows]


def _lines(path: str, what: str) -> list[tuple[str, str]]:
    """The pairs of a .jsonl, an object a line."""
    pairs: list[tuple[str, str]] = []
    for i, line in enumerate(read_text(Path(path), "labels", LIMIT).splitlines()):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        file = next((said[name] for name in FILES if name in said), None) if isinstance(said, dict) else None
        if not isinstance(said, dict) or not isinstance(file, str) or what not in said:
            keys = f"; it has: {', '.join(said)}" if isinstance(said, dict) else ""
            raise Refused(f'{path}: line {i + 1} is no {{"file_name": "a.png", "{what}": ...}}{keys}')
        pairs.append((file, word(said[what], path)))
    return pairs


def _json_pairs(path: str) -> list[tuple[str, str]]:
    try:
        content = json.loads(read_text(Path(path), "labels", LIMIT))
        if isinstance(content, dict) and isinstance(content.get("labels"), list):
            content = dict(content["labels"])
        pairs = [(file, word(value)) for file, value in content.items() if isinstance(value, str | int | float)]
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
        raise Refused(f"{path} is not a table of labels: line {broken + 1}: {OPEN}")
    if not rows:
        raise Refused(f"{path} is empty")
    return [row for _, row in rows]


def _refuse_ragged(path: str, rows: list[list[str]], width: int) -> None:
    for i, row in enumerate(rows):
        if len(row) != width:
            raise Refused(f"{path}: row {i + 1} has {len(row)} cells instead of {width}: {','.join(row)[:80]}")
