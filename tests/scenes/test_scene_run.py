"""Scenes as runs: trained, resumed, loaded, shown, judged and refused."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import undiffuse
from undiffuse.cli.main import main
from undiffuse.core.errors import Refused
from undiffuse.data.toys import solids
from undiffuse.data.toys.solids import SHAPES, Solids
from undiffuse.recipes.recipe import Recipe
from undiffuse.rendering import cameras
from undiffuse.sampling.file_formats import choose

pytestmark = pytest.mark.usefixtures("quick_evaluation")


def test_a_scene_goes_on_where_it_stopped(recipe: Recipe, scene: Path, tmp_path: Path):
    """Two steps at once, and one and one, are the same to the bit."""
    undiffuse.train(recipe.override(["train.steps=1"]), out=tmp_path / "a").run()
    parts = undiffuse.train(recipe, out=tmp_path / "a", resume=True).run()
    assert torch.equal(undiffuse.load(scene).module.renderable.grid, parts.module.renderable.grid)
    assert list((scene / "previews").iterdir())


def test_a_variational_scene_trains_its_fake_denoiser_and_not_its_prior(recipe: Recipe, prior: Path, tmp_path: Path):
    training = undiffuse.train(
        recipe.override(["objective.name=vsd", "train.steps=1", "train.validate_every=0"]), out=tmp_path / "vsd"
    )
    objective: Any = training.objective
    run, fake = training.run(), objective.fake(None)
    before = undiffuse.load(prior, "float32").module.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in run.prior.module.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in fake.state_dict().items())


def test_a_scene_is_read_from_its_file_with_its_prior(scene: Path, prior: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(scene.parent)
    run = undiffuse.load(scene)
    assert run.data_shape == (3, 8, 8)
    assert run.about() == {"asked for": "label = cone, colour = [0.15, 0.25, 0.85]"}
    assert list(run.tree()) == ["prior.run, inside: " + repr(run.prior)] or "inside" in next(iter(run.tree()))
    told = run.module.prior.conditions(cameras.turntable(4))
    assert told["label"].tolist() == [0] * 4
    condition = run.prior.conditions["camera"]
    seen = condition.decode(told["camera"])
    torch.testing.assert_close(seen.float(), cameras.towards(cameras.turntable(4)), rtol=0, atol=1e-5)
    assert set(told) == {"label", "colour", "camera"}


def test_views_turn_and_meshes_are_written(scene: Path, tmp_path: Path):
    run = undiffuse.load(scene)
    seen = run.sample(4)
    assert seen.shape == (4, 3, 8, 8)
    assert seen.dtype == torch.uint8
    torch.testing.assert_close(seen.as_subclass(torch.Tensor), run.views(cameras.turntable(4)))
    torch.testing.assert_close(run.sample(1, indices=[6])[0], run.views(cameras.turntable(24)[6:7])[0])
    film = run.open(n=5).film()
    assert film.frames.shape == (5, 1, 3, 8, 8)
    for name in ("turn.gif", "mesh.obj", "mesh.ply"):
        writer = choose(None, None, tmp_path / name)
        opened = run.open(n=1 if writer.solid else 5)
        writer.write(opened.solid() if writer.solid else opened.film(), tmp_path / name)
    with Image.open(tmp_path / "turn.gif") as picture:
        assert getattr(picture, "n_frames", 1) > 1
    with pytest.raises(Refused, match="a scene has one mesh, and 4 samples are asked for: leave -n"):
        run.open(n=4).solid()
    assert (tmp_path / "mesh.ply").read_bytes().startswith(b"ply\n")
    mesh = run.mesh()
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1)).max() < 1.05
    assert len(mesh.vertices) == sum(line.startswith("v ") for line in (tmp_path / "mesh.obj").read_text().splitlines())


def test_views_are_judged_by_a_reader_of_the_priors_data(scene: Path):
    from undiffuse.evaluation.judge import Judge
    from undiffuse.sampling.evaluation_request import EvaluationRequest
    from undiffuse.sampling.request import SampleRequest

    judged = undiffuse.load(scene).evaluate(EvaluationRequest(command="c"))
    assert judged.asked == "cone"
    assert 0 <= judged.share <= 1
    assert judged.about["count"] == judged.about["metrics"]["accuracy"]["count"] == 82
    assert judged.save(scene, scene) == ["evaluation.json"]
    assert json.loads((scene / "evaluation.json").read_text())["asked"] == "cone"
    assert "82 held-out views are read as 'cone'" in next(judged.printed())
    for asked, message in (
        (
            EvaluationRequest(how=Judge(metrics=("frechet",))),
            "metric frechet is for runs that draw samples: a scene is",
        ),
        (EvaluationRequest(request=SampleRequest(n=6)), "n is for runs that draw samples: a scene is judged by"),
    ):
        with pytest.raises(Refused, match=message):
            undiffuse.load(scene).evaluate(asked)


def test_the_command_says_what_it_wrote_and_that_scenes_are_not_compared(scene: Path, tmp_path: Path, capsys: Any):
    other = shutil.copytree(scene, tmp_path / "other")
    for words, said, status in (
        (["sample", str(scene), "-n", "3", "-o", str(tmp_path / "turntable.gif")], "turntable.gif: 3 views,", 0),
        (["sample", str(scene), "-o", str(tmp_path / "mesh.obj")], r"mesh.obj: a mesh of [\d,]+ vertices,", 0),
        (
            ["compare", str(scene), str(other), "-o", str(tmp_path)],
            "scene holds a scene, whose 24 views are no draws",
            2,
        ),
    ):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert (left.value.code or 0) == status
        assert re.search(said, " ".join("".join(capsys.readouterr()).split()))


def test_images_are_a_scene_too(recipe: Recipe, tmp_path: Path):
    """Their number is what they are by, and they turn to nobody."""
    settings = ["scene.name=image", "scene.count=3", "prior.conditions.camera=[1.0, 0.0, 0.0]", "train.steps=1"]
    run = undiffuse.train(recipe.override(settings), out=tmp_path / "images").run()
    assert run.usual == 3
    assert torch.equal(run.sample(5)[3], run.sample(5)[0])
    assert not torch.equal(run.sample(5)[1], run.sample(5)[0])
    with pytest.raises(Refused, match="images have no third dimension"):
        run.mesh()


def test_a_class_that_was_asked_for_by_its_number_is_judged(recipe: Recipe, tmp_path: Path):
    from undiffuse.sampling.evaluation_request import EvaluationRequest

    settings = ["scene.name=image", "scene.count=3", "prior.conditions.camera=[1.0, 0.0, 0.0]", "train.steps=1"]
    numbered = recipe.override([*settings, "prior.conditions.label=1"])
    judged = undiffuse.train(numbered, out=tmp_path / "images").run().evaluate(EvaluationRequest())
    assert (judged.asked, judged.about["count"]) == ("cube", 3)


def test_words_are_judged_by_the_class_that_they_name():
    from types import SimpleNamespace

    from undiffuse.evaluation.view_accuracy import _asked

    def said(**conditions: Any) -> Any:
        return SimpleNamespace(settings=SimpleNamespace(conditions=conditions))

    told, name = _asked(said(text="blue cone, {view} view", size=[1.0]), cameras.turntable(3), ("cube", "cone"))
    assert (told.tolist(), name) == ([1, 1, 1], "cone")
    for words, message in (({"text": "cones"}, "asked for 'cones'"), ({"text": "cone, cube"}, "cube'"), ({}, "'none'")):
        with pytest.raises(Refused, match=message):
            _asked(said(**words), cameras.turntable(3), ("cube", "cone"))


def test_words_for_the_view_are_those_of_each_camera(recipe: Recipe, prior: Path, monkeypatch: pytest.MonkeyPatch):
    from undiffuse.conditions.label import LabelCondition
    from undiffuse.sampling.scene_prior import PriorSettings, ScenePrior

    run = undiffuse.load(prior)
    conditions = {"label": LabelCondition(0.1, classes=("a back", "a front", "a overhead", "a side"))}
    object.__setattr__(run, "conditions", conditions)
    told = ScenePrior(run, PriorSettings("", {"label": "a {view}"}), solid=True).conditions(cameras.turntable(4))
    assert told["label"].tolist() == [1, 3, 0, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["prior.conditions.text=red"],
            r"takes the conditions label, colour, camera, and the scene gives label, colour, text, camera: give",
        ),
        (["prior.conditions.label=pyramid"], "prior.conditions.label pyramid is not one of the model's 6 classes"),
        (
            ["data.name=moons"],
            "a scene is trained from cameras: data.name = 'cameras' and codec.name = 'identity', not",
        ),
        (["scene.name=voxel"], r"scenes has no 'voxel' \(did you mean 'voxels'"),
        (["prior.weight=2"], "prior has no 'weight'"),
        (["objective.name=denoising"], "objective 'denoising' predicts data, and a run of kind 'scene' needs one that"),
        (["scene.background=pink"], "scenes 'voxels': background = 'pink' does not fit"),
    ],
)
def test_what_does_not_go_together_is_refused(recipe: Recipe, settings: list[str], message: str, tmp_path: Path):
    with pytest.raises(Refused, match=message):
        undiffuse.train(recipe.override(settings), out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


class Other:
    """A run that says of itself what it is told to."""

    def __init__(self, run: Any, **said: Any) -> None:
        self._run, self._said = run, said

    def __getattr__(self, name: str) -> Any:
        return self._said[name] if name in self._said else getattr(self._run, name)


@pytest.mark.parametrize("which", ["kind", "tokens", "few", "always", "guidance", "latent", "camera"])
def test_priors_that_do_not_fit_are_refused(which: str, recipe: Recipe, prior: Path):
    from types import SimpleNamespace

    from undiffuse.conditions.vector import VectorCondition
    from undiffuse.models.scene import SceneRun
    from undiffuse.recipes.uses import Uses

    run = undiffuse.load(prior)
    always = {**run.conditions, "wind": VectorCondition(0.0, (2,))}
    undropped = {**run.conditions, "label": type(run.conditions["label"])(0.0, classes=tuple(SHAPES))}
    wide = {**run.conditions, "camera": VectorCondition(0.1, (4,))}
    said: dict[str, tuple[dict[str, Any], str]] = {
        "kind": (
            {"denoises": False, "what": "a codec"},
            "holds a codec, and the prior of a scene is a run that denoise",
        ),
        "tokens": ({"codec": SimpleNamespace(tokens=True, mixed=False)}, "is a model of tokens, and a scene is of val"),
        "few": (
            {"denoiser": SimpleNamespace(jumps="data")},
            r"takes few steps \(denoiser.jumps = 'data'\): take its t",
        ),
        "always": ({"conditions": always}, r"by its name \(wind cannot be left out\)"),
        "guidance": ({"conditions": undropped}, r"guidance = 2 needs guesses without label, .*\(conditions.label.drop"),
        "latent": (
            {"codec": SimpleNamespace(tokens=False, mixed=False, bounds=None)},
            "and not of pixels, and a scene",
        ),
        "camera": ({"conditions": wide}, "takes a camera that is 4 numbers, and a scene gives the unit vector"),
    }
    fields, message = said[which]
    path = recipe["prior"]["run"]
    uses = Uses(runs={"prior.run": Other(run, **fields)}, paths={"prior.run": path})
    asked = recipe.with_tables()
    object.__setattr__(asked, "uses", uses)
    with pytest.raises(Refused, match=message):
        SceneRun.check(asked, {})


def test_requests_that_a_scene_cannot_answer_are_refused(scene: Path, prior: Path):
    run = undiffuse.load(scene)
    with pytest.raises(
        Refused, match=r"steps is for runs that draw samples: a scene shows what it holds.*n, seed, ind"
    ):
        run.sample(2, steps=3)
    with pytest.raises(Refused, match="a scene has no likelihood: score distillation looks for likely views"):
        run.scores(None, 0, None)
    with pytest.raises(Refused, match="meshes are of scenes in three dimensions and clouds of points: ask for"):
        undiffuse.load(prior).open(n=1).solid()


def test_solids_are_what_their_labels_say():
    """A ball's picture is as wide as its scale from everywhere; the same seed is the same data; none is held out."""
    data = Solids(count=24, size=16, only=("red sphere", "blue cone", "red cone"), without=("blue cone",)).load()
    assert sorted(set(data.labels.tolist())) == [0, 3]  # type: ignore[union-attr]
    balls = np.flatnonzero(data.labels == 3)
    background = (data.x[balls] == 255).all(1).mean((1, 2))
    least, most = (
        1 - math.pi / 4 * (0.75 * s / math.sqrt(9 - (0.75 * s) ** 2) / math.tan(math.radians(20))) ** 2
        for s in (1.05, 0.9)
    )
    assert background.min() > least - 0.12
    assert background.max() < most
    assert (data.conditions["colour"][:, 0] > data.conditions["colour"][:, 1:].max(1)).all()
    assert set(data.conditions["text"][data.labels == 0]) <= {f"red cone, {view} view" for view in cameras.VIEWS}
    front = np.char.find(data.conditions["text"], "front") >= 0
    assert ((data.conditions["camera"][:, 0] > np.abs(data.conditions["camera"][:, 1])) == front).all()
    np.testing.assert_allclose(np.linalg.norm(data.conditions["camera"], axis=1), 1, atol=1e-6)


def test_many_solids_are_rendered_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path))
    monkeypatch.setattr(solids, "KEPT", 1)
    few = Solids(count=9, size=8)
    first = few.load()
    monkeypatch.delattr(solids, "pictures")  # so that nothing can be rendered
    again = few.load()
    assert np.array_equal(first.x, again.x)
    assert np.array_equal(first.conditions["camera"], again.conditions["camera"])
    with pytest.raises(NameError):
        Solids(count=9, size=8, seed=1).load()


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("solids", {"size": 4}, "solids need count >= 1, seed >= 0 and a size of 8 to 128"),
        ("solids", {"without": ("blue con",)}, r"solids has no 'blue con' \(did you mean 'blue cone'"),
        ("solids", {"only": ("blue cone",)}, "solids of no combination: data.without leaves none of data.only"),
        ("cameras", {"distance": (0.5, 2.0)}, "a distance of two numbers in order above 1"),
        ("cameras", {"elevation": (30.0, 10.0)}, "an elevation of two degrees in order between -90 and 90"),
    ],
)
def test_data_that_cannot_be_are_refused(name: str, fields: dict[str, Any], message: str):
    from undiffuse.core import registry

    with pytest.raises(Refused, match=message):
        registry.build("data", {"name": name, **fields})
