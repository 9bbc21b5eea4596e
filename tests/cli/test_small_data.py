"""A run on a handful of pictures of the classes 1 and 3: what is held out, what is drawn, and where its data are."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import SHORT, SMALL

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.evaluation.sources import of_run
from undiffuse.models.load import load
from undiffuse.sampling.evaluation_request import EvaluationRequest

SETTINGS = [*SHORT, *SMALL, "train.batch=8", "train.preview_every=0"]
RANDOM = np.random.default_rng(0)
DATA = "data/few.npz"


def store(path: Path, count: int, classes: tuple[object, ...] = (1, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    x = RANDOM.integers(0, 256, (count, 8, 8), dtype=np.uint8)
    np.savez(path, images=x, labels=np.array([classes[i % len(classes)] for i in range(count)]))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 24 pictures and a run on them that was trained with a relative path."""
    folder = tmp_path_factory.mktemp("project")
    store(folder / DATA, 24)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        undiffuse.train("images", out="runs/few", overrides=[*SETTINGS, "data.name=file", f"data.path={DATA}"]).run()
    return folder


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """Run and data, moved together to another folder, which is not the current one."""
    there = shutil.copytree(project, tmp_path / "a" / "copy")
    run = there / "runs/few"
    undiffuse.Recipe.find(run).override([f"data.path=/gone/project/{DATA}"]).save(run)
    return there


def test_only_classes_that_exist_are_drawn_and_asked_for(project: Path, undiffuse_: Any, tmp_path: Path):
    model = undiffuse.load(project / "runs/few")
    assert model.classes == ("1", "3")
    undiffuse_("sample", project / "runs/few", "-n", 5, "-o", "a.npz")
    with np.load("a.npz") as drawn:
        assert [drawn["classes"][i] for i in drawn["labels"]] == ["1", "3", "1", "3", "1"]
    undiffuse_("sample", project / "runs/few", "-n", 2, "--label", "3", "-o", "b.npz")
    with np.load("b.npz") as drawn:
        np.testing.assert_array_equal(drawn["images"], model.sample(2, label=3).numpy()[:, 0])
        assert drawn["labels"].tolist() == [1, 1]
    for absent in ("0", "2"):
        told = undiffuse_("sample", project / "runs/few", "--label", absent, "-o", "c.npz")
        assert f"label {absent} is not one of the model's 2 classes: 1, 3" in told.err


def test_too_few_held_out_items_are_refused_before_anything_is_drawn(
    project: Path, undiffuse_: Any, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr("undiffuse.sampling.session.Session.draw", lambda *_: pytest.fail("it drew"))
        told = undiffuse_("evaluate", project / "runs/few")
        few = undiffuse_("evaluate", project / "runs/few", "-n", 5, "--against", "digits")
    assert "the run held out 8 of 24 items, and judging needs 10" in told.err
    assert "5 samples are too few to judge: at least 10 are needed" in few.err
    train = next(line for line in told.err.splitlines() if "--held-out" in line)
    words = shlex.split(train)[1:]
    assert undiffuse_(*words, "--set", *SETTINGS).status == 0
    out = words[words.index("--out") + 1]
    assert json.loads((Path(out) / "model.json").read_text())["held_out"] >= 10
    assert f"undiffuse evaluate {words[1]} --against DATA" in told.err


def test_run_and_data_may_move_together(copy: Path, undiffuse_: Any, caplog: pytest.LogCaptureFixture):
    again = undiffuse_("train", copy / "runs/few", "--resume", "--set", "train.steps=5")
    assert (again.status, "5 steps" in again.out) == (0, True)
    assert f"few.npz is not there; {copy / DATA} is read, which lies beside the run" in caplog.messages[0]
    assert undiffuse.Recipe.find(copy / "runs/few")["data"]["path"] == str(copy / DATA)


def test_data_at_another_place_are_named_by_data(copy: Path, undiffuse_: Any):
    run = copy / "runs/few"
    (copy / DATA).rename("here.npz")
    model = undiffuse.load(run)
    told = undiffuse_("train", run, "--resume", "--set", "train.steps=5")
    assert told.status == 2
    assert "--data DATA" in told.err
    assert undiffuse_("train", run, "--resume", "--data", "here.npz", "--set", "train.steps=5").status == 0
    assert Path(str(undiffuse.load(run).recipe["data"]["path"])) == Path("here.npz").absolute()
    assert model.classes == undiffuse.load(run).classes
    refused = undiffuse_("evaluate", run, "--data", "nowhere.npz")
    assert "nowhere.npz" in refused.err


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((1, 4), "was trained on the classes 1, 3, and the data are now without 3 and with 4: a run goes on"),
        ((3,), "the data are now without 1"),
        ((1, 2, 3), "the data are now with 2"),
    ],
)
def test_a_run_does_not_go_on_with_other_classes(copy: Path, classes: tuple[int, ...], message: str):
    with np.load(copy / DATA) as before:
        images = before["images"]
    labels = np.array([classes[i % len(classes)] for i in range(len(images))])
    np.savez(copy / DATA, images=images, labels=labels)
    with pytest.raises(Refused, match=message):
        undiffuse.train(copy / "runs/few", resume=True, overrides=[f"data.path={copy / DATA}"])


def test_a_run_judges_data_by_the_names_of_classes(copy: Path, undiffuse_: Any):
    """Data with fewer classes are counted as the run counts; data with others are refused by name."""
    store(copy / DATA, 24, (3, 3))
    model = undiffuse.load(copy / "runs/few")
    model = replace(model, recipe=model.recipe.override([f"data.path={copy / DATA}"]))
    real = of_run(model)
    assert real.train.classes == ("1", "3")
    assert set(real.train.labels.tolist()) == {1}  # type: ignore[union-attr]
    store(copy / DATA, 24, ("cat", 3))
    with pytest.raises(Refused, match=r"has the classes cat, and the run knows 1, 3: .*--data DATA"):
        of_run(model)


def test_a_classifier_of_numbered_classes_is_measured(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)
    few = [*SHORT[:-1], "network.width=16", "network.multipliers=[1]", "network.attention=[]", "network.blocks=1"]
    made = undiffuse.train(
        "digits-classifier",
        out=tmp_path / "classifier",
        overrides=[*few, "train.batch=8", "data.name=file", f"data.path={DATA}"],
    ).run()
    assert made.classes == ("1", "3")
    found = load(tmp_path / "classifier").evaluate(EvaluationRequest())
    assert len(found.held_out) == 10
    drawn = undiffuse.load("runs/few").sample(2, label=3, classifier=made)
    assert drawn.shape == (2, 1, 8, 8)


def test_a_missing_file_of_a_recipe_says_where_it_can_be_had(undiffuse_: Any):
    for name in ("mnist", "mnist-classifier", "fashion-map", "ddpm-cifar10", "emoji-text"):
        told = undiffuse_("train", name)
        assert told.status == 2
        assert f"there is no file {undiffuse.Recipe.find(name)['data']['path']}\nIt is an .npz of images (" in told.err
        assert "--data FILE.npz" in told.err
    assert (
        "curl -O https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
        in undiffuse_("train", "mnist").err
    )
    x = RANDOM.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    np.savez("mnist.npz", x_train=x, y_train=np.arange(40) % 10, x_test=x[:10], y_test=np.arange(10))
    data = undiffuse.data.File("mnist.npz").load()
    assert (len(data), data.classes) == (40, tuple("0123456789"))


def test_what_small_data_cannot_do_is_refused_with_what_helps(project: Path, undiffuse_: Any):
    store(Path("own.npz"), 4, ("a", "b", "c", "d"))
    told = undiffuse_("train", "own.npz", "--set", *SETTINGS)
    assert "own has 4 items of 4 classes: without those that are held out a class has none" in told.err
    assert undiffuse_("train", "own.npz", "--set", *SETTINGS, "--held-out", 0).status == 0
    store(Path("few.npz"), 4)
    told = undiffuse_("evaluate", project / "runs/few", "--against", "few.npz")
    assert "4 items of few.npz that are new to the run are too few to judge: 10 are needed" in told.err
