"""Consistency models as runs: they start from a teacher, keep their conditions, resume bit for bit, and sample so."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import players
import pytest
import tiny_run as tiny
import torch

import undiffuse
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Objective

FEW = {**tiny.TABLES["train"], "steps": 3, "batch": 8, "validate_every": 0, "snapshots": 0, "log_every": 1}
TABLES: dict[str, Any] = {**tiny.TABLES, "train": FEW}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    undiffuse.train(TABLES, out=folder).run(progress=False)
    return folder


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path):
    """With dropout in both calls, and a target that is an average."""
    whole = players.consistent(tmp_path / "whole", dropout=0.3)
    whole.run(progress=False)
    first = players.consistent(tmp_path / "parts", dropout=0.3)
    list(islice(first, 2))
    first.save()
    first._keeper.wait()
    players.consistent(tmp_path / "parts", dropout=0.3).resume().run(progress=False)
    tiny.same(tmp_path / "whole", tmp_path / "parts")
    held = tiny.tensors(tmp_path / "whole")
    assert int(held["objective.reached"]) == 4
    assert whole.objective.levels == 9  # type: ignore[attr-defined]
    name = "network.enter.weight"
    assert not torch.equal(held[f"objective.target.{name}"], held[f"weights.{name}"])


@pytest.mark.parametrize("method", ["easy_consistency", "continuous_consistency"])
def test_a_run_becomes_a_consistency_model_with_its_conditions(teacher: Path, tmp_path: Path, method: str):
    """It starts from the teacher's weights, its validation is at the pairs of the moment, and it samples by itself."""
    folder = tmp_path / "student"
    training = undiffuse.distill(teacher, method, 2, out=folder, guidance=1.0, overrides=["train.validate_every=3"])
    start = {name: each.clone() for name, each in training.module.state_dict().items()}
    before = undiffuse.load(teacher).module.state_dict()
    assert all(torch.equal(start[name], before[name]) for name in before)
    run: Any = training.run(progress=False)
    assert "distance_to_teacher" in training.numbers
    assert any(not torch.equal(start[name], each) for name, each in run.module.state_dict().items())
    run = undiffuse.load(folder)
    drawn = run.sample(4, label="3", seed=0)
    assert drawn.calls == 2
    grid = {"name": "logistic", "center": 0.8, "last": 1.0}
    again = run.sample(4, label="3", seed=0, sampler="renoise", grid=grid, steps=2)
    assert np.array_equal(drawn.numpy(), again.numpy())
    with pytest.raises(Refused, match="ddim needs guesses that are means of the data, and this model is a consistency"):
        run.sample(1, sampler="ddim")


def test_a_teacher_that_is_asked_may_be_guided(teacher: Path, tmp_path: Path):
    training = undiffuse.distill(teacher, "cd", 1, out=tmp_path / "student", guidance=2.0, steps=1)
    assert float(training.objective.teacher.weight) == 2.0  # type: ignore[attr-defined]
    training.run(progress=False)
    with pytest.raises(Refused, match="easy_consistency asks its teacher for no guesses, and so learns no guidance"):
        undiffuse.distill(teacher, "ect", 1, out=tmp_path / "other", guidance=2.0)


def test_a_student_that_learns_no_guidance_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    guided = {**TABLES, "sampler": {**TABLES.get("sampler", {}), "guidance": 2.0}, "train": {**FEW, "steps": 1}}
    undiffuse.train(guided, out=tmp_path / "guided").run(progress=False)
    undiffuse.distill(tmp_path / "guided", "ect", 1, out=tmp_path / "student", steps=1)
    said = "samples with guidance or a threshold, which easy_consistency does not learn"
    assert any(said in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["denoiser.jumps=none"],
            "objective 'easy_consistency' does not train an ordinary denoiser.* set",
        ),
        (["codec.name=identity"], "objective.teacher = .* was trained on what codec 'pixels' makes of data, and this"),
        (["network.width=8"], "the objective's start"),
        (
            ["denoiser.guidance_input=[1, 4]"],
            "no teacher is asked for guided guesses: leave denoiser.guidance_input",
        ),
    ],
)
def test_what_does_not_fit_its_teacher_is_refused(teacher: Path, tmp_path: Path, settings: Sequence[str], message: str):
    with pytest.raises(Refused, match=message):
        undiffuse.distill(teacher, "ect", 1, out=tmp_path / "student", guidance=1.0, overrides=settings)


def test_every_form_is_a_method_of_distillation():
    forms = [registry.get("objectives", name) for name in registry.names("objectives") if "consistency" in name]
    assert len(forms) == 4
    assert all(each.distils and issubclass(each, Objective) for each in forms)
