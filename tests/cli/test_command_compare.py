"""`undiffuse compare` sets runs side by side: the same seeds, the same data, one table, one page."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import undiffuse
from undiffuse.evaluation.compare import best

Undiffuse = Callable[..., Any]
MORE = ["network.width=16", "network.multipliers=[1]", "network.attention=[]", "network.blocks=2"]
SHORT = ["train.steps=4", "train.batch=8", "train.warmup=0", "sampler.steps=3"]
SHORT += ["train.preview_every=0", "train.validate_every=0"]


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run on the same data."""
    folder = tmp_path_factory.mktemp("others") / "larger"
    for _ in undiffuse.train("digits", out=folder, overrides=[*SHORT, *MORE]):
        pass
    return folder


@pytest.fixture(scope="module")
def compared(digits: Path, larger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a comparison wrote."""
    from undiffuse.cli.main import main

    folder = tmp_path_factory.mktemp("compared")
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(digits), str(larger), "-n", "30", "--precision", "float32", "--out", str(folder)])
    assert not stop.value.code
    return folder


def content(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "compare.json").read_text())


def test_a_page_a_picture_and_the_numbers_are_written(compared: Path):
    assert sorted(path.name for path in compared.iterdir()) == ["compare.html", "compare.json", "compare.png"]
    found = content(compared)
    assert list(found["runs"]) == ["digits", "larger"]
    for run in found["runs"].values():
        assert {"parameters", "network_calls", "seconds", "metrics"} <= set(run)
        assert run["metrics"]["frechet"]["count"] == 30
    assert found["runs"]["larger"]["parameters"] > found["runs"]["digits"]["parameters"]
    floors = {run["metrics"]["frechet"]["floor"] for run in found["runs"].values()}
    assert len(floors) == 1  # all are judged against the same data
    assert set(found["best"]) == set(found["runs"]["digits"]["metrics"])


def test_a_run_gets_the_numbers_that_its_own_evaluation_gives(undiffuse_: Undiffuse, digits: Path, compared: Path):
    undiffuse_("evaluate", digits, "-n", 30, "--precision", "float32", "-o", "alone")
    alone = json.loads(Path("alone/evaluation.json").read_text())["metrics"]
    assert content(compared)["runs"]["digits"]["metrics"] == alone


def test_the_page_stands_alone_and_names_runs_costs_and_command(compared: Path):
    text = (compared / "compare.html").read_text(encoding="utf-8")
    targets = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s]+)""", text)
    assert targets
    assert all(target.startswith("data:image/png;base64,") for target in targets)
    for word in ("digits", "larger", "parameters", "network calls", "undiffuse compare", "Fréchet distance", "<b>"):
        assert word in text, word


def test_the_picture_has_a_row_for_each_run(compared: Path):
    with Image.open(compared / "compare.png") as picture:
        assert picture.width > 10 * 64
        assert picture.height > 2 * 64


def test_the_best_reach_their_floor_or_come_nearest():
    def verdicts(value: float, better: str) -> dict[str, Any]:
        return {"m": {"value": value, "floor": 1.0, "better": better}}

    assert best([verdicts(3, "lower"), verdicts(2, "lower"), verdicts(5, "lower")], "m") == {1}
    assert best([verdicts(0.9, "lower"), verdicts(2, "lower"), verdicts(0.5, "lower")], "m") == {0, 2}
    assert best([verdicts(0.9, "higher"), verdicts(0.5, "higher")], "m") == {0}


def test_points_are_compared_too(undiffuse_: Undiffuse, points: Path, tmp_path_factory: pytest.TempPathFactory):
    other = tmp_path_factory.mktemp("points") / "other"
    for _ in undiffuse.train("toy-2d", out=other, overrides=[*SHORT, "data.count=400", "train.seed=1"]):
        pass
    Path("there").mkdir()
    Path("there/compare.png").write_bytes(b"an older one")
    done = undiffuse_("compare", points, other, "-n", 50, "-o", "there", "--metrics", "energy,columns")
    assert done.status == 0, done.err
    assert "Energy distance" in done.out
    with Image.open("there/compare.png") as picture:
        assert picture.width > 300
    assert "(over the last ones)" in done.out


def test_runs_on_other_data_or_splits_are_warned_of(undiffuse_: Undiffuse, digits: Path, tmp_path: Path):
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
    np.savez("other.npz", images=x)
    recipe = undiffuse.Recipe.find("digits")
    tables = {name: table for name, table in recipe.tables.items() if name != "conditions"}
    tables["sampler"] = {name: value for name, value in recipe["sampler"].items() if name != "guidance"}
    tables["data"] = {"name": "file", "path": str(tmp_path / "other.npz")}
    for _ in undiffuse.train(undiffuse.Recipe("noise", tables), out="noise", overrides=[*SHORT, *MORE]):
        pass
    for _ in undiffuse.train("digits", out="greedy", overrides=[*SHORT, *MORE, "train.held_out=0.1"]):
        pass
    done = undiffuse_("compare", digits, "noise", "greedy", "-n", 20, "-o", "there", "--metrics", "frechet")
    assert done.status == 0, done.err
    assert "noise was trained on other data than digits" in done.out
    assert "noise knows other classes than digits" in done.out
    assert "greedy was trained on some of what digits held out" in done.out or "greedy was trained on other" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["DIGITS"], "a comparison needs at least two runs, not 1"),
        (["DIGITS", "DIGITS"], "is named twice"),
        (["DIGITS", "nowhere"], "there is no run at nowhere"),
        (["DIGITS", "POINTS"], "makes samples of 2 float32 and digits of 1 x 8 x 8 uint8: they cannot be compared"),
        (["DIGITS", "nowhere", "--metrics", "fretchet"], "metrics has no 'fretchet' (did you mean 'frechet'?)"),
        (["DIGITS", "nowhere", "-o", "file"], "cannot write file"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    undiffuse_: Undiffuse, digits: Path, points: Path, words: list[str], message: str
):
    Path("file").write_text("")
    places = {"DIGITS": digits, "POINTS": points}
    done = undiffuse_("compare", *[places.get(word, word) for word in words])
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert [path.name for path in Path().iterdir()] == ["file"]
