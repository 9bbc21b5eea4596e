"""Whatever a table holds comes back: from the file to a .csv each cell, and through the codecs what float32 holds."""

import csv
import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from undiffuse.codecs.columns import ColumnsCodec
from undiffuse.codecs.whiten import Whiten
from undiffuse.data.dataset import Dataset
from undiffuse.data.sources.table import TableData
from undiffuse.sampling.data_frame import cells, frame

MANY = settings(  # about 350 columns
    max_examples=70,
    deadline=None,
    database=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
    derandomize=True,
)
LETTERS = st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('\n",;|\t ')
WORDS = st.text(LETTERS, max_size=6).map(lambda text: f"w{text}e")
GONE = st.sampled_from(["", "NA", "?", "NaN", "None", "null"])
START = datetime.datetime(1583, 1, 1)


def steps(base: int, places: int, numbers: list[int]) -> list[str]:
    """Numbers with so many places behind the point, as text."""
    return [
        f"{(base + n) // 10**places}.{(base + n) % 10**places:0{places}d}" if places else str(base + n) for n in numbers
    ]


@st.composite
def columns(draw: Any, rows: int) -> tuple[str, list[str]]:
    """(kind, cells) of one column."""
    each = lambda values: draw(st.lists(values, min_size=rows, max_size=rows))  # noqa: E731
    kind = draw(st.sampled_from(["whole", "decimals", "floats", "words", "constant", "days", "times"]))
    if kind in ("whole", "decimals"):
        places = draw(st.integers(1, 6)) if kind == "decimals" else 0
        base, wide = (
            draw(st.integers(0, 10 ** (15 if places else 17))),
            draw(st.sampled_from([5, 1000, 2**23, 2**24 - 1, 10**9])),
        )
        found = steps(base, places, each(st.integers(0, wide)))
        found = [f"-{text}" for text in found] if draw(st.booleans()) and not places else found
    elif kind == "floats":
        scale = 10.0 ** draw(st.integers(-20, 17))
        found = [repr(number * scale) for number in each(st.floats(-1, 1, allow_subnormal=False))]
    elif kind == "words":
        found = each(st.sampled_from(draw(st.lists(WORDS, min_size=1, max_size=4))))
    elif kind == "constant":
        found = [draw(st.sampled_from(["7", "6.90", "-3", "20230531", "same", "1e-7"]))] * rows
    elif kind == "days":
        found = [str((START + datetime.timedelta(days=n)).date()) for n in each(st.integers(0, 200_000))]
    else:
        found = [str(START + datetime.timedelta(seconds=n)) for n in each(st.integers(0, 2 * 10**10))]
    holes = draw(st.lists(st.booleans(), min_size=rows, max_size=rows)) if draw(st.booleans()) else [False] * rows
    return kind, [draw(GONE) if hole else cell for cell, hole in zip(found, holes, strict=True)]


@st.composite
def tables(draw: Any) -> tuple[list[str], list[list[str]]]:
    """Columns' names, and the columns."""
    rows, count = draw(st.integers(1, 25)), draw(st.integers(1, 9))
    names = draw(st.lists(WORDS | st.integers(0, 3000).map(str), min_size=count, max_size=count, unique_by=str.strip))
    often = draw(st.sampled_from([1, 12]))  # so that there are values that many rows have
    return names, [draw(columns(rows))[1] * often for _ in range(count)]


def read(path: Path, names: list[str], found: list[list[str]], **fields: Any) -> Dataset:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *zip(*found, strict=True)])
    return TableData(str(path), header="yes", **fields).load()


def text(data: Dataset, codec: Any, x: Any, labels: Any = None) -> tuple[list[str], list[list[str]]]:
    """The names and columns that are written of rows."""
    model: Any = SimpleNamespace(
        facts={"data": data.describe()},
        codec=codec,
        classes=data.classes,
        shape=data.shape,
        recipe={"data": {}},
        data_shape=data.shape,
    )
    written = cells(model, frame(model, x, labels))
    return written.columns, [written[name].to_list() for name in written.columns]


def missing(cell: str) -> bool:
    return cell in ("", "NA", "?", "NaN", "None", "null")


def stamp(cell: str) -> float | None:
    """A number or a date, as a number; None for a word."""
    try:
        return float(cell)
    except ValueError:
        pass
    try:
        return datetime.datetime.fromisoformat(cell).replace(tzinfo=datetime.UTC).timestamp()
    except ValueError:
        return None


def equal(cell: str, back: str) -> bool:
    """The same text, or the same number in another spelling."""
    return missing(cell) == (back == "") and (missing(cell) or cell == back or stamp(cell) == stamp(back) is not None)


def near(column: list[str], back: list[str]) -> None:
    """As equal as float32 makes it: the same where the range has fewer than 2^24 steps, else to 2^-24 of the range."""
    there = [i for i, cell in enumerate(column) if not missing(cell)]
    values = [stamp(column[i]) for i in there]
    if not there or None in values:
        assert all(map(equal, column, back))
        return
    numbers: Any = np.array(values)
    ends = np.ptp(numbers)
    places = max(len(column[i].partition(".")[2]) for i in there) if not any("e" in column[i] for i in there) else 99
    exact = places <= 9 and ends * 10.0**places < 2**24
    for i, value in zip(there, numbers, strict=True):
        found = stamp(back[i])
        assert found is not None
        assert found == value if exact else abs(found - value) <= ends * 2**-24 * 1.0001 + abs(value) * 2**-52
    assert all(missing(column[i]) == (back[i] == "") for i in range(len(column)))


@MANY
@given(table=tables())
def test_every_cell_comes_back(tmp_path_factory: pytest.TempPathFactory, table: tuple[list[str], list[list[str]]]):
    names, found = table
    path = tmp_path_factory.getbasetemp() / "round.csv"
    data = read(path, names, found)
    mixed = ColumnsCodec(data.categories).fit(data.x) if data.categories else ColumnsCodec().fit(data.x)
    written, back = text(data, mixed, data.x)
    assert written == [name.strip() for name in names]
    for column, again in zip(found, back, strict=True):
        assert all(map(equal, column, again)), (column, again)
    for codec in [mixed, *([] if data.categories else [Whiten().fit(data.x)])]:
        for column, again in zip(found, text(data, codec, codec.decode(codec.encode(data.x)).numpy())[1], strict=True):
            near(column, again)
