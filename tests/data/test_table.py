"""A table of numbers comes back as its numbers, and a line that holds none is shown."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.rows import MappedRows
from undiffuse.data.source import Peek
from undiffuse.data.sources.table import TableData
from undiffuse.data.tables import csv_reader

NUMBERS = np.array([[1, -2.5, 3e4], [0.1, 5, 6], [7, 8, 9.25]], np.float32)
WORDS = ["cat", "dog", "cat"]


def load(folder: Path, text: str | bytes, **fields: Any) -> Dataset:
    path = folder / "set.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return TableData(str(path), **fields).load()


def written(delimiter: str = ",", head: bool = True, label: bool = False, end: str = "\n", quote: str = "") -> str:
    rows = [["a", "b", "c"]] * head + [[f"{value:g}" for value in row] for row in NUMBERS]
    if label:
        rows = [[*row, word] for row, word in zip(rows, ["kind"] * head + WORDS, strict=True)]
    return "".join(delimiter.join(f"{quote}{cell}{quote}" for cell in row) + end for row in rows)


@pytest.mark.each("delimiter", [",", ";", "\t", "|"])
@pytest.mark.each("end", ["\n", "\r\n", "\r"])
@pytest.mark.each("quote", ["", '"'])
@pytest.mark.each("head", [True, False])
def test_numbers_come_back_whatever_the_dialect(tmp_path: Path, delimiter: str, end: str, quote: str, head: bool):
    data = load(tmp_path, written(delimiter, head, end=end, quote=quote))
    np.testing.assert_array_equal(data.x, NUMBERS)
    assert data.columns == (("a", "b", "c") if head else ())
    assert (data.name, data.labels) == ("set", None)


def test_empty_lines_before_the_names_do_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = load(tmp_path, "\n \n\r\na,b\n\n1,2\n3,5\n")
    np.testing.assert_array_equal(data.x, [[1, 2], [3, 5]])
    assert data.columns == ("a", "b")
    with pytest.raises(Refused, match=r"line 7 \('x' is not a number"):
        load(tmp_path, "\n\na,b\n\n1,2\n3,5\nx,1\n")
    assert not caplog.text


def test_a_quote_within_a_cell_opens_nothing(tmp_path: Path):
    data = load(tmp_path, 'a,b,kind\n1,2,5\'10"\n3,4,"say ""a, b"""\n', label="kind")
    np.testing.assert_array_equal(data.x, [[1, 2], [3, 4]])
    assert data.classes == ("5'10\"", 'say "a, b"')


def test_a_mark_and_empty_lines_and_no_last_line_end_do_no_harm(tmp_path: Path):
    text = b"\xef\xbb\xbf" + written().replace("\n", "\n\n").rstrip().encode()
    np.testing.assert_array_equal(load(tmp_path, text).x, NUMBERS)
    np.testing.assert_array_equal(load(tmp_path, "\n\n1\n2\n").x, [[1], [2]])


@pytest.mark.parametrize(("head", "label"), [(True, "kind"), (False, "3")])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_column_of_words_is_the_label(tmp_path: Path, head: bool, label: str, quote: str):
    data = load(tmp_path, written(head=head, label=True, quote=quote), label=label)
    np.testing.assert_array_equal(data.x, NUMBERS)
    assert (data.classes, data.conditions["label"].tolist()) == (("cat", "dog"), [0, 1, 0])
    assert data.columns == (("a", "b", "c") if head else ())
    assert TableData(str(tmp_path / "set.csv"), label=label).peek() == Peek((3,), True)


def test_columns_are_chosen_in_their_order_and_numbers_may_be_labels(tmp_path: Path):
    data = load(tmp_path, "a,b,c\n1,2,3\n4,0,6\n", columns=("c", "a"), label="b")
    np.testing.assert_array_equal(data.x, [[3, 1], [6, 4]])
    assert data.columns == ("c", "a")
    assert (data.classes, data.conditions["label"].tolist()) == (("0", "2"), [1, 0])


def test_a_split_of_a_table_is_that_of_the_array(tmp_path: Path):
    x = np.random.default_rng(0).normal(size=(200, 3))
    text = "\n".join(",".join(map(repr, row)) for row in x.tolist())
    np.testing.assert_array_equal(load(tmp_path, text).split()[1].x, Dataset(x).split()[1].x)


@pytest.mark.parametrize("size", [7, 40, 10**6])
def test_the_size_of_a_block_changes_nothing(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch, little: None):
    monkeypatch.setattr(csv_reader, "BLOCK", size)
    text = "a,b\n" + "".join(f"{i},{-i}\n" + "\n" * (i % 3 == 0) for i in range(50))
    data = load(tmp_path, text)
    assert isinstance(data.x, MappedRows)
    np.testing.assert_array_equal(np.asarray(data.x), [[i, -i] for i in range(50)])
    with pytest.raises(Refused, match=r"has 1 line .*: line 8 \('no' is not a number\): no,-4"):
        load(tmp_path, text.replace("\n4,", "\nno,"))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("1,two,3", r"line 3 \('two' is not a number\): 1,two,3"),
        ("1,2", r"line 3 \(2 cells instead of 3\): 1,2"),
        ("1,2,3,4", r"line 3 \(4 cells instead of 3\)"),
        ("1,,3", r"line 3 \(cell 2 is empty\)"),
        ("1,nan,3", r"line 3 \(cell 2 has no value: nan\)"),
        ("1,inf,3", r"line 3 \('inf' is not a number\)"),
        ("1,1e101,3", r"line 3 \(1e101 is too large to learn from\)"),
        ("1,1_0,3", r"line 3 \('1_0' is not a number\)"),
        ("1,\u0661,3", r"line 3 \('\u0661' is not a number\)"),
        ('1,"2,3"', r"line 3 \(2 cells instead of 3\)"),
        ('1,2,"3', r"line 3 \(its quote stays open\): 1,2,"),
        ('1,2"","3', r"line 3 \(its quote stays open"),
        ('1,"2,5",3', r"line 3 \('2,5' is not a number: a number has no comma, and its decimals a point\)"),
        ("x" * 200 + ",1,2", r"line 3 .*: x{77}\.\.\."),
    ],
)
def test_a_line_that_holds_no_numbers_is_shown_and_can_be_left_out(
    tmp_path: Path, line: str, why: str, caplog: pytest.LogCaptureFixture
):
    text = f"a,b,c\n1,2,3\n{line}\n4,5,7\n,,\n"
    with pytest.raises(Refused, match=rf"set.csv has 2 lines that cannot be read: {why}") as refused:
        load(tmp_path, text, missing="refuse")
    assert "--skip-broken" in str(refused.value)
    data = load(tmp_path, text, missing="refuse", skip_broken=True)
    np.testing.assert_array_equal(data.x, [[1, 2, 3], [4, 5, 7]])
    assert data.describe()["broken"]["count"] == 2
    assert "2 lines" in caplog.text


@pytest.mark.each(
    ("text", "fields", "message"),
    [
        ("", {}, "set.csv is empty"),
        ("a,b,a\n1,2,3\n", {}, "several columns called 'a'"),
        ("a,b\n", {}, "has no lines of numbers"),
        ("a,b\nx,y\n", {"numeric": ("a",), "skip_broken": True}, r"has 1 line .*: line 2 \('x' is not a number\): x,y"),
        ("a,b\n1,2\n", {"label": "bb"}, r"no column 'bb' for label \(did you mean 'b'\?\); it has: a, b"),
        ("a,b\n1,2\n", {"columns": ("c",)}, "no column 'c' for columns"),
        ("a,b\n1,2\n", {"columns": ("a", "a")}, "each can be taken once"),
        ("a,b\n1,2\n", {"columns": ("a",), "label": "a"}, "is the label, and columns = takes it"),
        ("a\n1\n", {"label": "a"}, "no column of numbers beside its label"),
        ("a,b\n1,\n", {"label": "b"}, r"line 2 \(it has no label\)"),
        (b"a,b\n1,2\n\xff,3\n", {}, "not UTF-8 text near line 3: --set data.encoding=latin-1"),
        ("a,b\n1,2\n".encode("utf-16"), {}, "set.csv is UTF-16 text: --set data.encoding=utf-16, or save it as UTF-8"),
        ('"a\nb,c\n1,2\n', {}, r"line 1 cannot be read \(its quote stays open\)"),
        ("a,b\n1,2\n", {"encoding": "utf8x"}, "there is no encoding 'utf8x'; write utf-8, latin-1"),
        ("a,b\n1,2\n", {"drop": ("c",)}, "no column 'c' for drop"),
        ("a,b\n1,2\n", {"drop": ("a", "b")}, "no column of numbers beside its label"),
        ('a\n1\n"2\n', {}, r"line 3 \(its quote stays open"),
        (b"PK\x03\x04\0\0", {}, "is not text: it has zero bytes near line 1"),
        ("a,b\n1,0.5\n2,1\n", {"label": "b"}, "b has the label 0.5: classes are words, or whole numbers"),
        (
            "a,b\n" + "".join(f"{i % 28 + 1:02}.03.2023,{i}\n" for i in range(40)),
            {},
            "too many to be categories: .*, or for dates, --set data.dates.a=%d.%m.%Y$",
        ),
        ("a,b\n" + "".join(f"1,{i}e9\n" for i in range(10_001)), {"label": "b"}, "10001 different.*is it a label"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used_are_refused(tmp_path: Path, text: Any, fields: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        load(tmp_path, text, **fields)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(csv_reader, "BLOCK", 100)
    monkeypatch.setattr(csv_reader, "LONGEST", 1000)
    with pytest.raises(Refused, match="more than 1000 bytes in a line near line 1: is it a table"):
        load(tmp_path, "1," * 5000)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"there is no file .*none.csv$"):
        TableData(str(tmp_path / "none.csv")).load()
    with pytest.raises(Refused, match=r"there is no file .* \(a folder: use --set data.name=folder\)"):
        TableData(str(tmp_path)).load()


def test_constant_columns_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    load(tmp_path, "a,b,c\n1,2,3\n1,3,3\n")
    assert "constant columns teach nothing: a, c" in caplog.text
    caplog.clear()
    load(tmp_path, "a,b\n" + "1,1\n" * 1500 + "1,2\n")
    assert "constant columns teach nothing: a" in caplog.text


def test_a_column_without_a_name_gets_one(tmp_path: Path):
    assert load(tmp_path, ",b\n0,2\n1,3\n").columns == ("column0", "b")


def test_columns_without_names_are_named_by_numbers():
    table = {"name": "table", "path": "x.csv", "label": 4, "drop": [0, 1], "columns": 3}
    made = registry.build("data", table)
    assert (made.label, made.drop, made.columns) == ("4", ("0", "1"), ("3",))
    with pytest.raises(Refused, match="label = True does not fit str"):
        registry.build("data", {**table, "label": True})
