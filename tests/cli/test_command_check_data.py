"""`undiffuse check-data` says what training would do, and ends with status 2 exactly where training would refuse."""

import json
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Undiffuse = Callable[..., Any]
RANDOM = np.random.default_rng(0)
QUICK = ["train.steps=1", "train.batch=2", "train.previews=1", "sampler.steps=2", "network.width=8"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))


def photos(folder: str = "photos", count: int = 12, side: int = 8) -> None:
    for i in range(count):
        path = Path(folder, "cat" if i % 3 else "dog", f"{i:02d}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RANDOM.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)


def test_a_folder_of_images(undiffuse_: Undiffuse):
    photos()
    Path("photos/cat/99.png").write_bytes(Path("photos/cat/01.png").read_bytes())
    done = undiffuse_("check-data", "photos")
    assert done.status == 0
    for words in (
        "13 images of 3 x 8 x 8, uint8",
        "2 classes: cat (9), dog (4)",
        "1 groups, 1 items too many: cat/01.png = cat/99.png",
        "pixels, 0 to 255 become -1 to 1",
        "fits the memory",
        "to train: undiffuse train photos --out runs/photos",
    ):
        assert words in done.out
    with Image.open("photos-contact.png") as sheet:
        assert sheet.height > 2 * 64
        assert sheet.width > 6 * 64


def test_the_line_to_type_trains(undiffuse_: Undiffuse):
    photos(side=9)
    done = undiffuse_("check-data", "photos", "--json")
    facts = json.loads(done.out)
    assert done.status == 2
    assert facts["problems"] == ["a height of 9: the recipe's U-Net takes what 4 divides; --set data.size=8"]
    words = shlex.split(facts["training"]["command"])[1:]
    at = words.index("--out")
    trained = undiffuse_(*words[:at], "--set", *QUICK, *words[at:])
    assert trained.status == 0, trained.err
    assert Path("runs/photos/model.safetensors").exists()


def test_the_line_to_type_quotes_what_a_shell_would_split(undiffuse_: Undiffuse):
    rows = "".join(f"{i},{i * i % 7},{'ab'[i % 2]}\n" for i in range(30))
    Path("my set.csv").write_text("one,two,kind of $\n" + rows)
    settings = ["label=kind of $", 'columns=["one", "two"]']
    line = json.loads(undiffuse_("check-data", "my set.csv", "--set", *settings, "--json").out)["training"]["command"]
    asked = ["--set", "data.label=kind of $", 'data.columns=["one", "two"]']
    assert shlex.split(line) == ["undiffuse", "train", "my set.csv", *asked, "--out", "runs/my-set"]


def test_integers_are_tokens_from_the_look_to_the_judgement(undiffuse_: Undiffuse):
    np.save("ids.npy", RANDOM.integers(0, 7, (400, 12)))
    facts = json.loads(undiffuse_("check-data", "ids.npy", "--set", "vocabulary=7", "--json").out)
    assert (facts["kind"], facts["vocabulary"], facts["training"]["codec"]["name"]) == ("tokens", 7, "tokens")
    words = shlex.split(facts["training"]["command"])[1:]
    assert words == ["train", "ids.npy", "--set", "data.vocabulary=7", "--out", "runs/ids"]
    small = ["train.steps=1", "train.previews=1", "network.width=8", "network.depth=1", "sampler.steps=2"]
    assert undiffuse_(*words[:-2], *small, *words[-2:]).status == 0
    judged = undiffuse_("evaluate", "runs/ids", "-n", "10")
    assert (judged.status, "bound" in judged.out) == (0, True), judged.err


def test_tokens_of_a_component_train_as_tokens(undiffuse_: Undiffuse):
    facts = json.loads(undiffuse_("check-data", "heartbeat", "--json").out)["training"]
    assert facts["recipe"] == "text"
    assert facts["command"].endswith("train text --data heartbeat --set codec.name=tokens --out runs/heartbeat")


def test_a_table_and_its_columns(undiffuse_: Undiffuse):
    rows = "".join(f"{i},{i * i % 7},5,{'ab'[i % 2]}\n" for i in range(30))
    Path("set.csv").write_text("one,two,five,kind\n" + rows)
    done = undiffuse_("check-data", "set.csv", "--set", "label=kind", "-o", "sheet.png")
    assert done.status == 0
    assert "undiffuse train set.csv --set data.label=kind --out runs/set" in done.out
    assert "constant columns, which teach nothing: five" in done.out
    facts = json.loads(undiffuse_("check-data", "set.csv", "--set", 'columns=["one","two"]', "--json").out)
    assert [channel["name"] for channel in facts["channels"]] == ["one", "two"]
    assert facts["channels"][0]["mean"] == pytest.approx(14.5)
    assert facts["channels"][0]["std"] == pytest.approx(np.arange(30).std())
    assert facts["training"]["split"]["train"] + facts["training"]["split"]["held_out"] == 30
    assert Path("sheet.png").exists()


def test_whole_numbers_are_shown_in_full_and_dates_as_dates(undiffuse_: Undiffuse):
    rows = "".join(f"{20230101 + i},2024-01-{1 + i % 28:02d},2024-01-01 10:{i:02d}\n" for i in range(30))
    Path("set.csv").write_text("day,when,time\n" + rows)
    lines = [line.split() for line in undiffuse_("check-data", "set.csv").out.splitlines()]
    shown = {line[0]: line[1:] for line in lines if line}
    assert shown["day"][-2:] == ["20230101", "20230130"]
    assert shown["when"][-3:] == ["days", "2024-01-01", "2024-01-28"]
    assert shown["time"][-4:] == ["2024-01-01", "10:00:00", "2024-01-01", "10:29:00"]


@pytest.mark.parametrize(
    ("axes", "shape"), [("NCL", (9, 2, 16)), ("NDHW", (9, 4, 8, 8)), ("NHWC", (9, 8, 8, 7)), ("NF", (9, 1))]
)
def test_other_shapes_have_contact_sheets_too(undiffuse_: Undiffuse, axes: str, shape: tuple[int, ...]):
    np.save("x.npy", RANDOM.normal(size=shape))
    done = undiffuse_("check-data", "x.npy", "--set", f"axes={axes}")
    assert done.status == 0, done.out
    with Image.open("x-contact.png") as sheet:
        assert min(sheet.size) > 60


def test_broken_files_are_problems_unless_they_are_skipped(undiffuse_: Undiffuse):
    photos()
    Path("photos/cat/01.png").write_bytes(b"none")
    done = undiffuse_("check-data", "photos")
    assert done.status == 2
    assert "problem: 1 broken: cat/01.png" in done.out
    assert undiffuse_("check-data", "photos", "--set", "skip_broken=true").status == 0
    train = ["train", "photos", "--set", *QUICK]
    refused = undiffuse_(*train)
    assert (refused.status, Path("runs").exists()) == (2, False)
    assert "1 of 12 images in photos is broken: cat/01.png" in refused.err
    assert undiffuse_(*train, "--skip-broken").status == 0


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: np.save("x.npy", np.ones((5, 3))), "5 items that are all the same"),
        (lambda: np.save("x.npy", np.ones((1, 3))), "has one item: nothing can be held out"),
        (lambda: np.save("x.npy", np.full((5, 3), np.nan)), "all 5 items have numbers that are NaN"),
        (lambda: Path("x.npy").write_bytes(b"none"), "is not an .npz or .npy file"),
        (lambda: np.save("x.npy", np.ones((5, 3), complex)), "dtype complex128"),
    ],
)
def test_what_training_refuses_is_a_problem_and_no_traceback(undiffuse_: Undiffuse, write: Any, message: str):
    write()
    done = undiffuse_("check-data", "x.npy")
    assert (done.status, done.err) == (2, "")
    assert message in " ".join(done.out.split())
    assert undiffuse_("train", "x.npy", "--set", *QUICK[:3]).status == 2


def test_a_built_in_set_is_trained_by_the_recipe(undiffuse_: Undiffuse):
    out = undiffuse_("check-data", "moons", "-o", "a.png").out
    assert "to train: undiffuse train table --data moons --out runs/moons" in out


def test_a_ladder_for_the_data_is_a_recipes_tables(undiffuse_: Undiffuse):
    """In the codec's numbers: 0 and 255 are -1 and 1, so that the farthest of these images are 2 sqrt(64) apart."""
    x = RANDOM.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    x[0], x[1] = 0, 255
    np.save("x.npy", x)
    done = undiffuse_("check-data", "x.npy", "--ladder", "-o", "a.png")
    assert done.status == 0, done.err
    tables = tomllib.loads(done.out[done.out.index("# levels") :])
    assert tables["schedule"]["sigma_max"] == pytest.approx(16)
    assert tables["schedule"]["steps"] == tables["sampler"]["steps"]
    facts = json.loads(undiffuse_("check-data", "x.npy", "--ladder", "--json", "-o", "a.png").out)["ladder"]
    assert facts["sigma_max"] == pytest.approx(16)
    assert (facts["sigma_min"], facts["steps"]) == (0.01, tables["schedule"]["steps"])
    np.save("same.npy", np.ones((5, 3)))
    refused = undiffuse_("check-data", "same.npy", "--ladder", "-o", "a.png")
    assert refused.status == 2
    assert "a ladder needs 0 < sigma_min < 0, the data's largest distance" in refused.err
    Path("none.npy").write_bytes(b"none")
    refused = undiffuse_("check-data", "none.npy", "--ladder", "-o", "a.png")
    assert "a ladder of noise is for values that can be read: none.npy has none" in refused.err


def test_mistakes_are_refused(undiffuse_: Undiffuse):
    photos(count=2)
    for words, message in {
        ("nowhere",): "there is no data at nowhere",
        ("photos", "--set", "sise=3"): "no 'sise' (did you mean 'size'?)",
        ("photos", "-o", "sheet.jpg"): "is a .png file",
        ("photos", "--set", "size"): "cannot read the setting",
    }.items():
        done = undiffuse_("check-data", *words)
        assert done.status == 2
        assert message in done.err


def test_another_data_for_any_recipe(undiffuse_: Undiffuse):
    np.save("points.npy", RANDOM.normal(size=(40, 2)))
    done = undiffuse_("train", "toy-2d", "--data", "points.npy", "--set", *QUICK[:4], "--out", "run")
    assert done.status == 0, done.err
    assert f'path = "{Path("points.npy").absolute()}"' in Path("run/recipe.toml").read_text()
    assert "there is no data at nowhere" in undiffuse_("train", "toy-2d", "--data", "nowhere").err
