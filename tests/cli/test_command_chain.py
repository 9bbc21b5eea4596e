"""`undiffuse chain`: a cascade of two trained runs, from the command line to its samples, and what does not meet."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.models.chain import Chain
from undiffuse.sampling.chained import StageTable
from undiffuse.sampling.option import options
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.words import stages

Undiffuse = Callable[..., Any]


def tables(data: Path, **changes: Any) -> dict[str, Any]:
    return {
        "data": {"name": "file", "path": str(data)},
        "codec": {"name": "pixels"},
        "schedule": {"name": "edm"},
        "parameterization": {"name": "edm"},
        "network": {"name": "unet", "width": 8, "multipliers": [1], "blocks": 1, "attention": []},
        "objective": {"name": "denoising", "weighting": "edm", "times": "log_normal"},
        "sampler": {"name": "ddim", "steps": 3},
        "train": {"steps": 2, "batch": 8, "warmup": 0, "snapshots": 0, "held_out": 0.2},
        **changes,
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of pictures of 4 x 4, by class, and one of 8 x 8 that is told the small ones."""
    folder = tmp_path_factory.mktemp("runs")
    random = np.random.default_rng(0)
    large = random.integers(0, 256, (120, 8, 8), np.uint8)
    small = large.reshape(120, 4, 2, 4, 2).mean((2, 4)).round().astype(np.uint8)
    labels = np.arange(120) % 3
    np.savez(folder / "large.npz", images=large, labels=labels)
    np.savez(folder / "small.npz", images=small, labels=labels)
    label, low = {"drop": 0.1}, {"kind": "image", "of": "superresolve:2", "noise": 0.5}
    for name, data, conditions in (("small", "small", {"label": label}), ("up", "large", {"low": low})):
        made = tables(folder / f"{data}.npz", conditions=conditions)
        undiffuse.train(made, out=folder / name).run(progress=False)
    return folder


@pytest.fixture(scope="module")
def cascade(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chains") / "cascade"
    stages = {"base": undiffuse.load(runs / "small"), "up": undiffuse.load(runs / "up")}
    made = Chain.of_runs(stages, {"up": StageTable("runs/up", augmentation=0.2)})
    made.save(folder)
    made.recipe.save(folder)
    return folder


def test_a_chain_is_a_run_without_the_runs_that_it_was_made_of(undiffuse_: Undiffuse, runs: Path, tmp_path: Path):
    both = tmp_path / "runs"
    shutil.copytree(runs, both)
    done = undiffuse_("chain", f"base={both / 'small'}", both / "up", "-o", tmp_path / "c", "--augmentation", "up=0.2")
    assert done.status == 0, done.err
    assert "base (1 x 4 x 4), then up (1 x 8 x 8), told the sample before as 'low' with noise of level 0.2" in " ".join(
        done.err.split()
    )
    small, up = (undiffuse.load(both / name) for name in ("small", "up"))
    shutil.rmtree(both)
    done = undiffuse_("sample", tmp_path / "c", "-n", 4, "--label", "1", "--seed", 5, "-o", tmp_path / "drawn.npz")
    assert done.status == 0, done.err
    with np.load(tmp_path / "drawn.npz") as file:
        drawn = dict(file)
    assert drawn["images"].shape[:3] == (4, 8, 8)
    assert drawn["labels"].tolist() == [1, 1, 1, 1]
    first: Any = small.sample(4, seed=5, label=1)
    second: Any = up.sample(4, seed=Random(5).fold(1).seed, low=first.numpy(), augmentation=0.2)
    assert np.array_equal(drawn["images"].reshape(4, 1, 8, 8), second.numpy())
    shown = " ".join(undiffuse_("show", tmp_path / "c").out.split())
    assert "stages base (1 x 4 x 4), then up (1 x 8 x 8)" in shown
    assert f"parameters {small.parameters + up.parameters:,}" in shown


def test_a_chain_is_filmed_evaluated_and_asked_stage_by_stage(undiffuse_: Undiffuse, cascade: Path, tmp_path: Path):
    done = undiffuse_(
        "sample", cascade, "-n", 2, "--trajectory", "gif", "-o", tmp_path / "way.gif", "--stage", "up:steps=2"
    )
    assert done.status == 0, done.err
    done = undiffuse_("evaluate", cascade, "-n", 20, "--metrics", "frechet,agreement", "-o", tmp_path / "judged")
    assert done.status == 0, done.err
    said = json.loads((tmp_path / "judged" / "evaluation.json").read_text())
    assert {"frechet", "agreement"} <= set(said["metrics"])
    model: Any = undiffuse.load(cascade)
    low = np.full((1, 4, 4), 100, np.uint8)
    told = model.sample(2, low=low)
    assert torch.equal(told, model.sample(2, low=low, label=2))  # the base, which knows labels, is not asked
    assert told.calls == 3
    np.save(tmp_path / "low.npy", low)
    words = ("-n", 2, "--condition", f"low={tmp_path / 'low.npy'}", "-o", tmp_path / "told.npy")
    assert undiffuse_("sample", cascade, *words).status == 0
    np.testing.assert_array_equal(np.load(tmp_path / "told.npy"), told.numpy()[:, 0])
    led = model.sample(2, label=2, guidance=2.0)  # of the base: the other stage has nothing to be guided to
    assert torch.equal(led, model.sample(2, label=2, guidance={"label": 2.0}))
    assert led.calls > model.sample(2, label=2, guidance=1.0).calls
    with pytest.raises(Refused, match="the chain's conditions has no 'lable'"):
        model.sample(1, guidance={"lable": 2.0})


def test_a_file_says_the_stages(undiffuse_: Undiffuse, runs: Path, tmp_path: Path):
    (tmp_path / "cascade.toml").write_text(
        f'[stages.base]\nrun = "{runs / "small"}"\n[stages.up]\nrun = "{runs / "up"}"\nfills = "low"\n'
    )
    assert undiffuse_("chain", tmp_path / "cascade.toml", "-o", tmp_path / "c").status == 0
    model: Any = undiffuse.load(tmp_path / "c")
    assert [stage.name for stage in model.stages] == ["base", "up"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["up", "small"], "makes samples of shape (1, 8, 8), and of conditions of 'small' such are none: label"),
        (["small", "up", "--fills", "up=label"], "stage 'up' has no condition 'label'; its conditions: low"),
        (["small", "small"], "two stages have one name"),
        (["small"], "a chain has two stages or more, not 1"),
        (["small", "up", "--augmentation", "up=0.7"], "knows noise on 'low' of levels from 0 to 0.5, not 0.7"),
        (["small", "up", "--augmentation", "upp=0.2"], "no 'upp' (did you mean 'up'?)"),
    ],
)
def test_stages_that_do_not_meet_are_refused(
    words: list[str], message: str, undiffuse_: Undiffuse, runs: Path, tmp_path: Path
):
    given = [runs / word if word in ("up", "small") else word for word in words]
    done = undiffuse_("chain", *given, "-o", tmp_path / "c")
    assert done.status == 2
    assert message in " ".join(done.err.split())


def test_fields_of_a_stage_are_said_as_those_of_a_run():
    said = stages(
        [
            *("up:steps=8", "up:interval=0.2,inf", "up:guidance=low=2,label=1.5", "up:settings=eta=0.5"),
            *("up:lora=runs/a:0.5", "up:lora=runs/b", "low:negative=grey", "low:controlnet=runs/edges:0.5"),
        ],
        options(SampleRequest),
    )
    wanted = {"up": {"lora": {"runs/a": 0.5, "runs/b": 1}, "steps": 8}, "low": {"controlnet": ["runs/edges:0.5"]}}
    wanted["up"] |= {"interval": [0.2, "inf"], "guidance": {"low": 2, "label": 1.5}, "settings": {"eta": 0.5}}
    wanted["low"] |= {"negative": "grey"}
    assert said == wanted
    for fields in said.values():
        assert SampleRequest.from_json(fields).to_json() == fields


def test_what_is_of_one_run_is_not_asked_of_a_chain(undiffuse_: Undiffuse, cascade: Path, runs: Path, tmp_path: Path):
    for words, message in (
        (["--weaker", runs / "small"], "weaker is of one run: ask one stage for it, --stage up:weaker=..."),
        (["--stage", "up:interval=5"], "interval = 5 does not fit"),
        (["--stage", "up:interval=a,b"], "--interval is LOW,HIGH, as 0.2,5; not 'a,b'"),
        (["--stage", "top:steps=3"], "the chain's stages has no 'top'"),
        (["--text", "a cat"], "the model has no condition 'text'"),
    ):
        done = undiffuse_("sample", cascade, "-n", 1, *words, "-o", tmp_path / "x.png")
        assert done.status == 2
        assert message in " ".join(done.err.split())
    done = undiffuse_("train", cascade, "--resume")
    assert done.status == 2
    assert "a chain is not trained" in " ".join(done.err.split())


def test_the_level_of_noise_between_stages_is_found_and_kept(
    undiffuse_: Undiffuse, cascade: Path, runs: Path, tmp_path: Path
):
    shutil.copytree(cascade, tmp_path / "c")
    done = undiffuse_("tune", tmp_path / "c", "augmentation", "--levels", "0,0.4", "-n", 20, "--keep")
    assert done.status == 0, done.err
    said = json.loads((tmp_path / "c" / "tuning" / "augmentation.json").read_text())
    assert [each["level"] for each in said["tried"]] == [0.0, 0.4]
    best = min(said["tried"], key=lambda each: each["distance"])["level"]
    assert said["best"] == {"up": best}
    kept: Any = undiffuse.load(tmp_path / "c")
    assert kept.stages[1].augmentation == best
    assert (tmp_path / "c" / "tuning" / "augmentation.png").stat().st_size > 1000
    done = undiffuse_("tune", tmp_path / "c", "augmentation", "--levels", "0", "-n", 20, "--features", "pixels")
    assert done.status == 0, done.err
    assert "augmentation --levels 0 -n 20 --features pixels --keep" in done.out
    seen = json.loads((tmp_path / "c" / "tuning" / "augmentation.json").read_text())["tried"]
    assert seen[0]["distance"] not in (0.0, said["tried"][0]["distance"])  # by principal components of the numbers
    done = undiffuse_("tune", runs / "small", "augmentation")
    assert done.status == 2
    assert "has no stage that was trained with noise on its condition" in " ".join(done.err.split())
    done = undiffuse_("tune", cascade, "augmentation", "--levels", "0.9", "-n", 10)
    assert done.status == 2
    assert "stage 'up' was trained with noise of levels from 0 to 0.5, not 0.9" in " ".join(done.err.split())
