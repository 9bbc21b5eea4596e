"""Rows to predict from are read as the table was that was learned from, whoever wrote them and whatever holds them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from undiffuse.conditions.vector import VectorCondition
from undiffuse.core.errors import Refused
from undiffuse.data.sources.table import TableData
from undiffuse.data.to_predict import aimed, inputs


def learned(path: Path, text: str, encoding: str = "utf-8", **fields: Any) -> tuple[Any, np.ndarray]:
    """What a run knows of a table, and the inputs of its rows."""
    path.write_text(text, encoding=encoding)
    read = TableData(str(path), encoding=encoding, **{"target": "y", **fields}).load()
    notes = {**read.notes["predicts"], "targets": list(read.classes), "classes": bool(read.classes)}
    vector = SimpleNamespace(of_item=True)
    return SimpleNamespace(facts={"data": {"predicts": notes}}, conditions={"inputs": vector}), np.asarray(read.x)


@pytest.mark.each("encoding", ["latin-1", "utf-16"])
def test_a_file_has_the_encoding_of_the_table_or_is_utf_8(tmp_path: Path, encoding: str):
    text = "Größe;y\n1,5;2\n2,5;3\n3,5;5\n"
    known, wanted = learned(tmp_path / "x.csv", text, encoding)
    np.testing.assert_array_equal(inputs(known, str(tmp_path / "x.csv"))[0], wanted)
    (tmp_path / "new.csv").write_text(text)
    np.testing.assert_array_equal(inputs(known, str(tmp_path / "new.csv"))[0], wanted)
    plain, _ = learned(tmp_path / "plain.csv", text)
    with pytest.raises(Refused, match=r"x.csv is no UTF-8 text: save it as UTF-8$"):
        inputs(plain, str(tmp_path / "x.csv"))


def test_the_first_line_names_the_columns_where_it_did_in_training(tmp_path: Path):
    """One row of years, and one row without names that is words."""
    years = "".join(f"{i},{i % 7},{i % 5}.5\n" for i in range(40))
    known, wanted = learned(tmp_path / "years.csv", f"2019,2021,y\n{years}")
    (tmp_path / "one.csv").write_text("2019,2021\n0,0\n")
    np.testing.assert_array_equal(inputs(known, str(tmp_path / "one.csv"))[0], wanted[:1])
    words = "".join(f"{'red' if i % 2 else 'blue'},{i % 7}.5,{i}\n" for i in range(40))
    known, wanted = learned(tmp_path / "words.csv", words, header="no", target="2")
    (tmp_path / "one.csv").write_text("blue,0.5\n")
    np.testing.assert_array_equal(inputs(known, str(tmp_path / "one.csv"))[0], wanted[:1])


@pytest.mark.each("zone", ["", "Z", "+02:00", "-0530"])
def test_times_of_a_data_frame_are_those_of_the_file(tmp_path: Path, zone: str):
    rows = [f"2023-05-{i + 1:02d}T{i % 24:02d}:30:07{zone},{i}.5\n" for i in range(28)]
    known, wanted = learned(tmp_path / "x.csv", "when,y\n" + "".join(rows))
    frame = pl.read_csv(tmp_path / "x.csv", try_parse_dates=True)
    assert len(np.unique(wanted)) == 28
    np.testing.assert_array_equal(inputs(known, frame)[0], wanted)
    if zone:
        there = frame.with_columns(pl.col("when").dt.convert_time_zone("Asia/Tokyo"))
        np.testing.assert_array_equal(inputs(known, there)[0], wanted)
    else:
        there = frame.with_columns(pl.col("when").dt.replace_time_zone("Asia/Tokyo"))  # what the clock shows
        np.testing.assert_array_equal(inputs(known, there)[0], wanted)


def test_numbers_far_from_zero_keep_what_tells_them_apart(tmp_path: Path):
    """Seconds of five minutes: float32 has four different ones, of 1.7e9 from 1970 on."""
    random = np.random.default_rng(0)
    rows = [f"2024-05-01T10:{s // 60:02d}:{s % 60:02d},{1714557600 + s},{s / 7:.3f}\n" for s in range(300)]
    _, x = learned(tmp_path / "x.csv", "when,stamp,y\n" + "".join(rows))
    assert [len(np.unique(column)) for column in x.T] == [300, 300]
    vector = VectorCondition(of="item").fit(x, ())
    some = x[random.permutation(300)[:9]]
    z = vector.given(some, 9, "inputs")
    np.testing.assert_allclose(z.numpy(), (some - x.mean(0)) / x.std(0), atol=1e-6)
    assert torch.equal(z, vector.encode(some))
    np.testing.assert_allclose(vector.decode(z).numpy(), some, atol=1e-3)  # the regressor reads these
    beside = TableData(str(tmp_path / "x.csv"), conditions={"when": ("when",)}).load()
    assert len(np.unique(beside.conditions["when"])) == 300


def test_columns_of_any_library_are_read_and_others_refused(tmp_path: Path):
    known, wanted = learned(tmp_path / "x.csv", "0,b,y\n" + "".join(f"{i},{i % 3}.5,{i}\n" for i in range(9)))
    own: dict[Any, Any] = {0: np.arange(9), "b": np.array([i % 3 + 0.5 for i in range(9)], object)}
    np.testing.assert_array_equal(inputs(known, own)[0], wanted)
    np.testing.assert_array_equal(inputs(known, {"0": [1, 2], "b": 0.5})[0], [[1, 0.5], [2, 0.5]])
    with pytest.raises(Refused, match="the columns have different counts of rows: 0 9, b 1"):
        inputs(known, {**own, "b": [0.5]})
    with pytest.raises(Refused, match=r"column '0' has cells of List\(Int64\), and takes numbers, words or dates"):
        inputs(known, {"0": [[1], [2]], "b": [1, 2]})


def test_a_data_frame_of_pandas_has_names_of_any_kind_and_holes(tmp_path: Path):
    pandas = pytest.importorskip("pandas")
    text = "0,day,y\n" + "".join(f"{i},{f'2024-03-{i + 1:02d}' if i % 4 else ''},{i}\n" for i in range(20))
    known, wanted = learned(tmp_path / "x.csv", text)
    frame = pandas.read_csv(tmp_path / "x.csv", parse_dates=["day"]).rename(columns={"0": 0})
    assert frame["day"].isna().sum() == 5
    for given in (frame, frame.astype({0: "Int64"})):
        np.testing.assert_array_equal(inputs(known, given)[0], wanted)
    with pytest.raises(Refused, match="the data frame has several columns of one name"):
        inputs(known, pandas.concat([frame, frame[["day"]]], axis=1))


def test_a_class_that_is_a_whole_number_is_known_however_it_is_written(tmp_path: Path):
    text = "a,y\n" + "".join(f"{i / 4},{i % 3}.0\n" for i in range(30))
    known, _ = learned(tmp_path / "x.csv", text, categorical=("y",))
    assert known.facts["data"]["predicts"]["targets"] == ["0", "1", "2"]
    np.testing.assert_array_equal(np.asarray(aimed(known, str(tmp_path / "x.csv")).x).argmax(1), np.arange(30) % 3)
