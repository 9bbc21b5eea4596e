"""Runs inside a recipe: fine-tuning, a teacher in an objective, what travels with a run and what is only recorded."""

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run as tiny
import torch

import undiffuse
from undiffuse.core import plugins, registry
from undiffuse.core.errors import Refused
from undiffuse.guidance import Autoguidance
from undiffuse.models import load
from undiffuse.samplers import DDIM
from undiffuse.storage.files import read_tensors, write_tensors
from undiffuse.training.initial_weights import take_over
from undiffuse.tuning.averages import ema

TEACHER = """
from dataclasses import dataclass, field

import torch

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform


@dataclass(frozen=True)
class DistillToy(Timed):
    "Learn the guess of a teacher."

    teacher: Denoiser
    times: TimeDistribution = field(default_factory=Uniform)

    def at(self, t, model, batch, random):
        x_t = model.process.marginal(batch.x, t).sample(random)
        with torch.no_grad():
            aim = self.teacher(x_t, t, **batch.cond).mean
        return (model(x_t, t, **batch.cond).mean - aim).square().flatten(1).mean(1)
"""
SAMPLER = """
from dataclasses import dataclass

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.sampler import Sampler
from undiffuse.samplers import DDIM


@dataclass(frozen=True)
class Weaker(Sampler):
    "DDIM by the guess of another run."

    other: Denoiser

    def step(self, denoiser, x_t, t, s, memory=None, *, random, **cond):
        return DDIM().step(self.other, x_t, t, s, random=random, **cond)
"""
FEW = {**tiny.TABLES["train"], "steps": 2, "validate_every": 0, "snapshots": 0, "batch": 8}
TABLES: dict[str, Any] = {**tiny.TABLES, "train": FEW}


@pytest.fixture(scope="module", autouse=True)
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A person's own objective with a teacher, and a sampler that draws with another run."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in (("distill_toy", TEACHER), ("weaker", SAMPLER)):
        (folder / f"{name}.py").write_text(text)
        undiffuse.use(folder / f"{name}.py")
    yield
    for path in plugins.in_use():  # else processes that later tests start use them as well
        plugins.forget(path)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "base"
    undiffuse.train(TABLES, out=folder).run(progress=False)
    return folder


def test_the_averages_of_a_run_with_a_teacher_are_tuned(base: Path, tmp_path: Path):
    train = {**FEW, "steps": 4, "snapshots": 2}
    tables = {**TABLES, "objective": {"name": "distill_toy", "teacher": str(base)}, "train": train}
    undiffuse.train(tables, out=tmp_path / "student").run(progress=False)
    trials = ema(tmp_path / "student", [0.1])
    assert [trial.name for trial in trials] == ["ordinary", "raw", "post-hoc"]
    assert all(math.isfinite(trial.validation_loss) for trial in trials)


def test_a_teacher_is_a_run_frozen_recorded_and_checked_when_the_run_goes_on(base: Path, tmp_path: Path):
    teacher = tmp_path / "teacher"
    shutil.copytree(base, teacher)
    tables = {**TABLES, "objective": {"name": "distill_toy", "teacher": str(teacher)}}
    training = undiffuse.train(tables, out=tmp_path / "student")
    before = {name: value.clone() for name, value in undiffuse.load(teacher, "float32").module.state_dict().items()}
    student = training.run(progress=False)
    held = student.recipe.uses.runs["objective.teacher"].module
    assert all(torch.equal(value, before[name]) for name, value in held.state_dict().items())
    assert not held.training
    assert not any(weight.requires_grad for weight in held.parameters())
    assert set(student.facts["runs"]) == {"objective.teacher"}
    names = read_tensors(tmp_path / "student" / "model.safetensors", "model")[0]
    assert not any("teacher" in name or name.startswith("uses.") for name in names)
    shutil.rmtree(teacher)  # sampling does not need it
    assert undiffuse.load(tmp_path / "student").sample(1, label=3, steps=1).shape == (1, 1, 8, 8)
    with pytest.raises(Refused, match=r"there is no run at .*teacher"):
        undiffuse.train(tmp_path / "student", resume=True, overrides=["train.steps=3"])
    shutil.copytree(base, teacher)
    undiffuse.train(tmp_path / "student", resume=True, overrides=["train.steps=3"]).run(progress=False)
    weights, about = read_tensors(teacher / "model.safetensors", "model")
    digest = load.digest(teacher)
    write_tensors(teacher / "model.safetensors", weights, {**about, "plans": []})
    assert load.digest(teacher) != digest
    undiffuse.train(tmp_path / "student", resume=True, overrides=["train.steps=4"])  # a plan changes no weight
    write_tensors(teacher / "model.safetensors", {name: value + 1 for name, value in weights.items()}, about)
    with pytest.raises(Refused, match=r"objective.teacher = .*teacher' is not the run that .*student was trained with"):
        undiffuse.train(tmp_path / "student", resume=True, overrides=["train.steps=4"])


def test_a_run_that_sampling_needs_travels_in_the_file(base: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(base, other)
    tables = {**TABLES, "sampler": {"name": "weaker", "other": str(other), "steps": 2, "guidance": 1.0}}
    undiffuse.train(tables, out=tmp_path / "run").run(progress=False)
    expected = undiffuse.load(other, "float32").sample(2, label=3, sampler="ddim", steps=2, guidance=1.0)
    shutil.rmtree(other)
    run = undiffuse.load(tmp_path / "run", "float32")
    assert torch.equal(run.sample(2, label=3), expected)
    run.save(tmp_path / "again")
    assert torch.equal(undiffuse.load(tmp_path / "again", "float32").sample(2, label=3), expected)
    (inner,) = run.uses.values()
    assert not any(weight.requires_grad for weight in inner.module.parameters())
    assert json.loads((tmp_path / "run" / "model.json").read_text())["uses"]["sampler.other"]["shape"] == [1, 8, 8]
    weights, about = read_tensors(tmp_path / "run" / "model.safetensors", "model")
    for broken, message in (
        ({**about, "uses": 3}, "its description spoils 'uses'"),
        ({key: value for key, value in about.items() if key != "uses"}, "holds 'uses.sampler.other"),
    ):
        write_tensors(tmp_path / "run" / "model.safetensors", weights, broken)
        with pytest.raises(Refused, match=message):
            undiffuse.load(tmp_path / "run", "float32")


def test_a_weaker_run_and_a_classifier_guide_from_the_recipe_and_from_a_request(base: Path, tmp_path: Path):
    strong, weak = (undiffuse.load(base, "float32") for _ in range(2))
    for weight in weak.module.parameters():
        weight.mul_(0.5)
    weak.save(tmp_path / "weak")
    how: dict[str, Any] = {"label": [1, 2], "steps": 3, "sampler": DDIM()}
    guided = Autoguidance(strong.denoiser, weak.denoiser, 3.0)
    z = undiffuse.sample(guided, (2, *strong.shape), sampler=DDIM(), steps=3, label=torch.tensor([1, 2]))
    expected = strong.codec.decode(z)
    assert torch.equal(strong.sample(2, weaker=weak, guidance=3.0, **how), expected)
    assert not torch.equal(strong.sample(2, weaker=tmp_path / "weak", **how), strong.sample(2, guidance=1.0, **how))
    tables = {**TABLES, "sampler": {"weaker": str(tmp_path / "weak"), "guidance": 3.0}}
    inside = undiffuse.train(tables, out=tmp_path / "run").run(progress=False).to("float32")
    shutil.rmtree(tmp_path / "weak")
    again = undiffuse.load(tmp_path / "run", "float32")
    assert torch.equal(again.sample(2, **how), inside.sample(2, **how))
    assert not torch.equal(again.sample(2, **how), strong.sample(2, guidance=1.0, **how))
    with pytest.raises(Refused, match="with a weaker run guidance is one number"):
        again.sample(2, guidance={"label": 2.0}, **how)
    with pytest.raises(Refused, match=r"weaker is a run that draws samples of the same data, .*, not 3"):
        strong.sample(2, weaker=3, **how)
    reader = {
        **TABLES,
        "kind": "classifier",
        "network": {"name": "encoder", "width": 4, "attention": [], "multipliers": [1]},
    }
    reader |= {"objective": {"name": "label_cross_entropy"}, "conditions": {"label": {}}}
    del reader["sampler"]
    undiffuse.train(reader, out=tmp_path / "reader").run(progress=False)
    plain = {**TABLES, "conditions": {}, "sampler": {"classifier": str(tmp_path / "reader"), "guidance": 5.0}}
    led = undiffuse.train(plain, out=tmp_path / "led").run(progress=False).to("float32")
    assert set(led.uses) == {"sampler.classifier"}
    leads = undiffuse.load(tmp_path / "reader")
    assert torch.equal(led.sample(2, **how), led.sample(2, classifier=leads, **how))
    assert not torch.equal(led.sample(2, **how), led.sample(2, steps=3, sampler=DDIM()))


def test_fine_tuning_takes_over_what_fits_and_names_what_does_not(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with np.load(tiny.TABLES["data"]["path"]) as file:
        few = file["labels"] > 6
        np.savez(tmp_path / "few.npz", images=file["images"][few], labels=file["labels"][few] + 1)  # 8, 9 and 10
    start: dict[str, Any] = {"init": {"run": str(base)}}
    data = {"name": "file", "path": str(tmp_path / "few.npz")}
    caplog.set_level("INFO", logger="undiffuse")
    fresh = undiffuse.train({**TABLES, **start, "data": data}, out=tmp_path / "fine").module.state_dict()
    (said,) = [record.getMessage() for record in caplog.records if "init.run" in record.getMessage()]
    assert said.endswith("base': new classes: 10; dropped classes: 0, 1, 2, 3, 4, 5, 6, 7")
    old, old_classes = undiffuse.load(base, "float32").module.state_dict(), undiffuse.load(base).classes
    (table,) = [name for name in old if old[name].shape[:1] == (10,) and fresh[name].shape != old[name].shape]
    for i, label in enumerate(("8", "9")):
        assert torch.equal(fresh[table][("8", "9", "10").index(label)], old[table][old_classes.index(label)]), i
    assert all(torch.equal(fresh[name], old[name]) for name in old if name != table)
    caplog.clear()
    bare = {**TABLES, **start, "conditions": {}, "sampler": {"steps": 1}}
    undiffuse.train(bare, out=tmp_path / "bare").run(progress=False)
    (said,) = [record.getMessage() for record in caplog.records if "init.run" in record.getMessage()]
    assert "dropped weights: " in said
    assert table in said
    wide = {**TABLES["network"], "width": 8}
    with pytest.raises(Refused, match=r"init.run = .* has the shape \(16, 4\), and here it is \(32, 8\): f"):
        undiffuse.train({**TABLES, **start, "network": wide}, out=tmp_path / "wide")
    with pytest.raises(Refused, match="'base' holds none of the weights that are trained here, such as 'weight'"):
        take_over(torch.nn.Linear(2, 2), {"other": torch.zeros(2)}, "init.run = 'base'")
    with pytest.raises(Refused, match="init needs run"):
        undiffuse.train({**TABLES, "init": {}, "train": FEW} | {"init": {"run": ""}}, out=tmp_path / "none")
    with pytest.raises(Refused, match="there is no run at nowhere"):
        undiffuse.train({**TABLES, "init": {"run": "nowhere"}}, out=tmp_path / "none")


def test_show_draws_the_tree(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from undiffuse.cli.show import show

    tables = {**TABLES, "init": {"run": str(base)}, "sampler": {"name": "weaker", "other": str(base), "steps": 1}}
    undiffuse.train(tables, out=tmp_path / "run").run(progress=False)
    show(str(tmp_path / "run"))
    said = " ".join(capsys.readouterr().out.split())
    assert "├── sampler.other, inside: Diffusion of digits" in said
    assert "└── init.run, for training only:" in said


def test_what_a_recipe_names_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    built: Counter[str] = Counter()
    build = registry.build

    def counted(kind: str, table: Any, **given: Any) -> Any:
        built[kind] += 1
        return build(kind, table, **given)

    monkeypatch.setattr(registry, "build", counted)
    undiffuse.train(TABLES, out=tmp_path / "run")
    twice = {"codecs": 2, "networks": 2}  # before the data are read and fitted to them; without memory, and with
    assert built == dict.fromkeys(built, 1) | twice
    assert {"data", "schedules", "parameterizations", "objectives", "samplers"} <= built.keys()
