"""From a .csv of words and numbers to synthetic rows and their report, as a person types it."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undiffuse
from undiffuse.cli.main import main
from undiffuse.core.errors import Refused
from undiffuse.evaluation import sources

pytestmark = pytest.mark.usefixtures("quick_evaluation")

TINY = [
    "train.steps=4",
    "train.snapshots=0",
    "network.width=16",
    "network.depth=1",
    "train.batch=32",
    "train.log_every=2",
]


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scikit-learn's wines, with their kind and their colour in words."""
    from sklearn.datasets import load_wine

    data: Any = load_wine()
    folder = tmp_path_factory.mktemp("wine")
    path = folder / "wine.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["alcohol", "magnesium", "hue", "colour", "kind"])
        for x, y in zip(data.data, data.target, strict=True):
            writer.writerow([x[0], int(x[4]), x[10], "dark" if x[9] > 5 else "pale", data.target_names[y]])
    return path


@pytest.fixture(scope="module")
def trained(wine: Path) -> Path:
    assert run("train", str(wine), "--out", str(wine.parent / "run"), "--set", "data.label=kind", *TINY) == 0
    return wine.parent / "run"


def test_rows_are_scored_with_the_runs_columns_and_categories(trained: Path, tmp_path: Path):
    """Without a dark wine, pale ones would be counted as category 0; the label and other columns are no columns."""
    model = undiffuse.load(trained)
    some = "kind,colour,price,hue,magnesium,alcohol\n" + "class_2,pale,9,1.04,127,14.23\n" * 5
    (tmp_path / "pale.csv").write_text(some, encoding="utf-8")
    found = sources.counted(str(tmp_path / "pale.csv"), model, labelled=True)
    np.testing.assert_allclose(found.x[0], [14.23, 127, 1.04, 1], rtol=1e-6)
    assert found.categories == ((), (), (), ("dark", "pale"))
    assert found.classes == ("class_2",)
    (tmp_path / "red.csv").write_text(some.replace("pale", "red"), encoding="utf-8")
    with pytest.raises(Refused, match="red has 'red' in column 'colour', which the run does not"):
        sources.counted(str(tmp_path / "red.csv"), model)
    assert run("score", str(trained), str(tmp_path / "pale.csv"), "-o", str(tmp_path / "pale-scores.csv")) == 0


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_rows_come_back_with_their_words_and_whole_numbers(trained: Path, tmp_path: Path):
    out = tmp_path / "rows.csv"
    assert run("sample", str(trained), "-n", "40", "--steps", "3", "-o", str(out)) == 0
    rows = read(out)
    assert list(rows[0]) == ["alcohol", "magnesium", "hue", "colour", "kind"]
    assert len(rows) == 40
    assert {row["colour"] for row in rows} <= {"dark", "pale"}
    assert [row["kind"] for row in rows[:4]] == ["class_0", "class_1", "class_2", "class_0"]
    assert all(float(row["magnesium"]) == int(row["magnesium"]) and 70 <= int(row["magnesium"]) <= 162 for row in rows)
    assert all(len(row["alcohol"].partition(".")[2]) <= 2 for row in rows)
    assert run("sample", str(trained), "-n", "9", "--steps", "3", "-o", str(tmp_path / "rows.npz")) == 0
    with np.load(tmp_path / "rows.npz") as arrays:
        assert arrays["categories_colour"].tolist() == ["dark", "pale"]
        assert arrays["x"].shape == (9, 4)


def test_the_same_seed_gives_the_same_rows_whatever_the_batch(trained: Path, tmp_path: Path):
    for name, batch in (("a", "40"), ("b", "7")):
        words = ["--steps", "3", "--guidance", "2", "--batch", batch, "-o", str(tmp_path / f"{name}.csv")]
        assert run("sample", str(trained), "-n", "40", *words) == 0
    assert read(tmp_path / "a.csv") == read(tmp_path / "b.csv")


def test_finished_rows_are_judged_with_their_words(
    wine: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with wine.open() as file:
        head, *lines = file.read().splitlines()
    (tmp_path / "backwards.csv").write_text("\n".join([head, *lines[::-1]]))
    only = ["--metrics", "column_shapes,dcr", "-o", str(tmp_path / "judged")]
    assert run("evaluate", str(tmp_path / "backwards.csv"), "--against", str(wine), *only) == 0
    found = json.loads((tmp_path / "judged" / "evaluation.json").read_text())["metrics"]
    assert found["column_shapes"]["value"] < 0.25
    (tmp_path / "other.csv").write_text("\n".join([head, *(line.replace("pale", "green") for line in lines)]))
    assert run("evaluate", str(tmp_path / "other.csv"), "--against", str(wine), *only) == 2
    assert "has 'green' in column 'colour', which wine does not" in capsys.readouterr().err


def test_samplers_and_choices_that_rows_cannot_take_are_refused(
    trained: Path, wine: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("sample", str(trained), "-n", "3", "--sampler", "heun") == 2
    assert "heun is for values, and Product is a process of values and tokens together" in capsys.readouterr().err
    for settings, message in (
        (
            ["codec.name=whiten"],
            "codec 'whiten' and process 'product' do not go together: rows of numbers and categories",
        ),
        (["process.name=gaussian"], "codec 'columns' and process 'gaussian' do not go together"),
        (["sampler.name=heun"], "heun is for values"),
        (["network.name=mlp"], "network 'mlp' is for values; networks for values and tokens together are: table_mlp"),
        (["objective.name=hybrid"], "hybrid"),
    ):
        assert run("train", str(wine), "--out", str(wine.parent / "no"), "--set", *settings, *TINY[:1]) == 2
        assert message in capsys.readouterr().err
    asked = ["--set", "data.label=kind", *TINY[:1]]
    assert run("train", "table", "--data", str(wine), "--out", str(wine.parent / "no"), *asked) == 2
    assert "have categories (colour), and codec 'whiten' is for values" in capsys.readouterr().err


def test_what_is_known_of_the_file_names_the_categories(wine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("check-data", str(wine), "--json", "-o", str(tmp_path / "c.png")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["categories"] == {"colour": ["dark", "pale"], "kind": ["class_0", "class_1", "class_2"]}
    assert [channel["name"] for channel in found["channels"]] == ["alcohol", "magnesium", "hue"]
    assert found["training"]["recipe"] == "table-mixed"
