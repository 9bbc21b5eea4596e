"""Every column returns in its own kind, in its own place, and a model's file keeps no row's own numbers."""

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import undiffuse
from undiffuse.cli.main import main
from undiffuse.codecs.columns import ColumnsCodec
from undiffuse.codecs.identity import Identity
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.codecs.whiten import Whiten
from undiffuse.core.errors import Refused
from undiffuse.data import resolve
from undiffuse.data.sources.table import TableData
from undiffuse.sampling.data_frame import frame

RANDOM = np.random.default_rng(5)
COUNT = 200
TINY = [
    "train.steps=3",
    "train.snapshots=0",
    "network.width=16",
    "network.depth=1",
    "train.batch=32",
    "train.preview_every=0",
]


def people() -> dict[str, list[Any]]:
    """A column of each kind, in an order that no kind has for itself."""
    return {
        "town": RANDOM.choice(["Rome", "Oslo", ""], COUNT).tolist(),
        "day": [str(np.datetime64("2024-01-01") + int(i)) for i in RANDOM.integers(0, 300, COUNT)],
        "age": ["" if i % 5 == 0 else int(a) for i, a in enumerate(RANDOM.integers(18, 90, COUNT))],
        "kind": RANDOM.choice(["new", "old"], COUNT).tolist(),
        "height": RANDOM.normal(170, 9, COUNT).round(1).tolist(),
        "number": (10**17 + RANDOM.integers(0, 10**6, COUNT)).tolist(),
        "seven": [7] * COUNT,
        "paid": [f"{pay:.2f}" for pay in RANDOM.lognormal(8, 1, COUNT)],
    }


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
    return path


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixed table and one of numbers alone, each with a run."""
    folder = tmp_path_factory.mktemp("kinds")
    mixed = people()
    numbers = {name: mixed[name] for name in ("day", "height", "seven", "paid")} | {
        "kids": RANDOM.integers(0, 5, COUNT)
    }
    numbers = {"kind": RANDOM.choice(["new", "old"], COUNT).tolist(), **numbers}
    for name, columns in (("mixed", mixed), ("numbers", numbers)):
        path = write(folder / f"{name}.csv", columns)
        tiny = [*TINY, "data.label=kind"] if name == "mixed" else [*TINY[:2], *TINY[3:], "data.label=kind"]
        assert run("train", str(path), "--out", str(folder / name), "--set", *tiny) == 0
        assert (
            run("sample", str(folder / name), "-n", "300", "--steps", "4", "-o", str(folder / f"{name}-new.csv")) == 0
        )
    return folder


@pytest.mark.parametrize("name", ["mixed", "numbers"])
def test_samples_are_a_table_like_the_data(folder: Path, name: str):
    data, new = (pl.read_csv(folder / f"{file}.csv", try_parse_dates=True) for file in (name, f"{name}-new"))
    assert new.schema == data.schema  # names, order, and whole numbers, dates and words as such
    for column in data.columns:
        if data[column].dtype in (pl.Int64, pl.Date):
            assert data[column].min() <= new[column].min() <= new[column].max() <= data[column].max(), column  # type: ignore[operator]
    assert set(new["seven"]) == {7}
    assert (new["height"].round(1) == new["height"]).all()
    written = (folder / f"{name}-new.csv").read_text().splitlines()[1:]
    assert all(len(line.split(",")[data.columns.index("paid")].partition(".")[2]) == 2 for line in written)
    assert set(new["kind"]) == set(data["kind"])
    if name == "mixed":
        assert 0 < new["age"].null_count() < 300
        assert 0 < new["town"].null_count() < 300
        assert new["number"].min() >= 10**17  # type: ignore[operator]


def test_a_frame_has_the_datas_types(folder: Path):
    model = undiffuse.load(folder / "mixed")
    x = model.sample(9, steps=2, label="old")
    found = frame(model, x, ["old"] * 9)
    assert found.columns == list(people())
    kinds = [pl.String, pl.Date, pl.Int64, pl.String, pl.Float64, pl.Int64, pl.Int64, pl.Float64]
    assert list(found.dtypes) == kinds
    assert frame(model, x.numpy(), np.ones(9, int))["kind"].to_list() == ["old"] * 9
    assert frame(model, x).columns == [name for name in people() if name != "kind"]
    assert frame(undiffuse.load(folder / "numbers"), torch.zeros(2, 5)).columns == [
        "day",
        "height",
        "seven",
        "paid",
        "kids",
    ]
    with pytest.raises(Refused, match=r"samples of shape \(3, 3\) are no rows of a table"):
        frame(model, torch.zeros(2, 3, 3))


def test_samples_and_other_tables_are_read_as_the_run_counts(folder: Path):
    for name, others in (("mixed", "mixed-new"), ("numbers", "numbers-new")):
        metrics = ["--metrics", "dcr", "-o", str(folder / f"judged-{name}")]
        assert run("evaluate", str(folder / f"{others}.csv"), "--against", str(folder / f"{name}.csv"), *metrics) == 0
    full = {
        key: ["" if cell == "" and key == "town" else cell or 40 for cell in cells] for key, cells in people().items()
    }
    assert run("score", str(folder / "mixed"), str(write(folder / "full.csv", full)), "-o", str(folder / "s.csv")) == 0


def test_what_is_missing_is_filled_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    ages = {"age": ["" if i % 6 == 0 else (18 + i % 30 if i % 2 else 51 + i % 30) for i in range(90)]}
    path = write(tmp_path / "ages.csv", ages | {"size": list(range(90)), "kind": ["a", "b"] * 45})
    filled = TableData(str(path), label="kind", missing="impute").load()
    assert filled.columns == ("age", "size")
    assert (filled.x[:, 0] == filled.x[:, 0].round()).all()
    assert not filled.categories  # numbers alone stay numbers alone
    asked = ["--data", str(path), "--out", str(tmp_path / "no"), "--set", "data.label=kind"]
    assert run("train", "table", *asked) == 2
    said = capsys.readouterr().err
    assert "numbers are missing (age)" in said
    assert "--set data.missing=impute" in said


def test_no_rows_own_number_is_kept():
    """But those of whole numbers' ends, and values that several rows share."""
    x = np.stack(
        [RANDOM.lognormal(8, 1, 158).round(2), RANDOM.normal(size=158), RANDOM.integers(0, 10**6, 158)], axis=1
    )
    codec = ColumnsCodec().fit(x)
    stored = np.array(json.loads(json.dumps(asdict(codec)))["quantiles"])
    for i, column in enumerate(x.T):
        assert not np.isin(column, stored[i]).any()
        assert len(set(stored[i].tolist())) <= 158 / 10 + 2
        assert codec.least[i] <= column.min()
        assert codec.most[i] >= column.max()
        wide = np.ptp(column) * 0.011
        assert codec.least[i] == column.min() if i == 2 else column.min() - wide <= codec.least[i] < column.min()
        assert codec.decode(codec.encode(x))[:, i].numpy() == pytest.approx(column, abs=np.ptp(column) * 2**-24)
    shared = ColumnsCodec().fit(np.repeat([[1.25], [2.5]], 5, axis=0))
    assert {1.25, 2.5} <= set(shared.quantiles[0])


@pytest.mark.parametrize("codec", [Whiten(), ColumnsCodec(), ColumnsCodec(normalise="whiten")], ids=repr)
def test_a_range_is_kept_or_left_as_it_is_asked_for(codec: Any):
    x = np.stack([RANDOM.integers(0, 9, 99), RANDOM.normal(size=99).round(1), RANDOM.normal(size=99)], axis=1)
    z = torch.tensor([[-30.0] * 3, [30.0] * 3])
    for inside, held in (("whole", [True, False, False]), ("all", [True] * 3), ("none", [False] * 3)):
        fitted = type(codec)(**(asdict(codec) | {"inside": inside})).fit(x)
        ends = fitted.decode(z).numpy()
        beyond = (ends[0] < fitted.least) | (ends[1] > fitted.most)
        held = [True] * 3 if codec == ColumnsCodec() else held  # quantiles know no number beyond them
        assert (~beyond).tolist() == held, inside


@pytest.mark.parametrize("codec", [Whiten(), PixelsCodec()], ids=repr)
def test_numbers_far_from_zero_keep_their_digits(codec: Any, tmp_path: Path):
    far = 1e6 + RANDOM.uniform(-1e-3, 1e-3, (20, 1, 4, 4))
    near = RANDOM.normal(size=(20, 3))
    for x, dtype in ((far, "float64"), (far[:, 0, 0], "float64"), (near, "float32"), (near.round(), "float32")):
        np.save(tmp_path / "x.npy", x)
        found = resolve.open(str(tmp_path / "x.npy"), **({"axes": "NCHW"} if x.ndim == 4 else {}))
        assert found.x.dtype == dtype
        fitted = codec.fit(found.x)
        back = fitted.decode(fitted.encode(found.x)).numpy()
        assert back.dtype == dtype
        np.testing.assert_allclose(back, x, rtol=2**-52, atol=np.ptp(x) * 2**-23)
    np.save(tmp_path / "whole.npy", np.array([[20230531, 1], [20230532, 2]]))
    assert np.asarray(resolve.open(str(tmp_path / "whole.npy")).x).tolist() == [[20230531, 1], [20230532, 2]]
    np.save(tmp_path / "whole.npy", np.array([[2**53 + 1, 1], [2, 2]]))
    with pytest.raises(Refused, match=r"whole: feature 0 has whole numbers beyond 2\^53"):
        resolve.open(str(tmp_path / "whole.npy"))
    with pytest.raises(Refused, match=r"identity passes numbers as float32, and these need float64: take whiten"):
        Identity().fit(far)
