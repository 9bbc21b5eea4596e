"""Training end to end on small networks: it learns, compares over time, and stops where it must."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run as tiny
import torch

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.recipes.recipe import Recipe
from undiffuse.training import validation
from undiffuse.training.diagnose import Diverged
from undiffuse.training.start import data, train

POINTS: dict[str, Any] = {
    "data": {"name": "moons", "count": 2000},
    "codec": {"name": "whiten"},
    "schedule": {"name": "flow"},
    "network": {"name": "mlp", "width": 64, "depth": 2, "waves": 4},
    "parameterization": {"name": "flow"},
    "objective": {"name": "denoising", "weighting": "snr_plus_one", "times": "stratified"},
    "train": {"steps": 300, "batch": 128, "lr": 3e-3, "warmup": 10, "checkpoint_every": 0, "preview_every": 0},
}


def test_a_run_learns_and_leaves_a_model_behind(tmp_path: Path):
    run = tmp_path / "moons"
    training = train(POINTS, out=run, overrides=["train.preview_every=300", "train.validate_every=100"])
    numbers = list(training)
    assert numbers[-1].keys() >= {"step", "loss", "grad_norm", "lr", "samples_per_second", "validation_loss"}
    assert "validation_loss" not in numbers[0]
    losses = [n["loss"] for n in numbers]
    assert np.mean(losses[-50:]) < 0.8 * np.mean(losses[:10])
    model = undiffuse.load(run)
    assert torch.equal(model.sample(50, steps=5), training.result.sample(50, steps=5))
    drawn, real = model.sample(2000).numpy(), np.asarray(data(Recipe.find(run))[0].x)
    assert np.abs(drawn.mean(0) - real.mean(0)).max() < 0.15
    assert np.abs(np.cov(drawn.T) - np.cov(real.T)).max() < 0.15
    assert model.facts["step"] == 300
    assert model.facts["data"]["name"] == "moons"
    assert {p.name for p in run.iterdir()} >= {
        "recipe.toml",
        "model.json",
        "model.safetensors",
        "metrics.jsonl",
        "tensorboard",
    }
    assert (run / "previews" / "step_000300.png").read_bytes().startswith(b"\x89PNG")


def test_validation_and_levels_are_written_down_and_comparable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usual_levels: int
):
    monkeypatch.setattr(validation, "LEVELS", usual_levels)
    settings = ["train.steps=6", "train.validate_every=3", "train.lr=1e-12", "train.ema_decay=0.9", "train.warmup=0"]
    train(POINTS, out=tmp_path / "run", overrides=settings).run(progress=False)
    lines = [line for line in tiny.metrics(tmp_path / "run") if "validation_loss" in line]
    assert [line["step"] for line in lines] == [0, 3, 6]
    for line in lines[1:]:  # the same items, times and noise
        assert line["validation_loss"] == pytest.approx(lines[0]["validation_loss"], rel=1e-5)
    levels = lines[1]["levels"]
    assert levels["log_snr"] == sorted(levels["log_snr"])
    assert len(levels["loss"]) == len(levels["log_snr"]) == 16
    assert all(loss > 0 for loss in levels["loss"])


def test_the_loss_in_the_log_is_the_mean_since_the_line_before(tmp_path: Path):
    settings = ["train.steps=7", "train.log_every=3", "train.validate_every=0"]
    losses = [numbers["loss"] for numbers in train(POINTS, out=tmp_path / "run", overrides=settings)]
    lines = tiny.metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [3, 6, 7]
    assert [line["loss"] for line in lines] == pytest.approx([np.mean(losses[:3]), np.mean(losses[3:6]), losses[6]])


def test_class_conditional_previews_show_every_class(tmp_path: Path):
    run = tmp_path / "run"
    training = train(tiny.TABLES, out=run, overrides=["train.steps=2", "train.preview_every=1"])
    model = training.run(progress=False)
    assert sorted(p.name for p in (run / "previews").iterdir()) == [f"step_00000{step}.png" for step in range(3)]
    assert model.classes == tuple("0123456789")
    assert model.sample(2, label=3).shape == (2, 1, 8, 8)


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_last_good_checkpoint(tmp_path: Path):
    run = tmp_path / "run"
    training = train(POINTS, out=run, overrides=["train.checkpoint_every=2", "train.validate_every=0"])
    for _ in range(3):
        next(training)
    with torch.no_grad():
        next(training.module.parameters()).fill_(float("nan"))
    with pytest.raises(
        Diverged, match=r"the loss is nan at step 4; the last good checkpoint is .*00000002\. The weights .network"
    ):
        list(training)
    assert torch.isfinite(undiffuse.load(run).sample(3)).all()
    fresh = train(POINTS, out=tmp_path / "other")
    with torch.no_grad():
        next(fresh.module.parameters()).fill_(float("inf"))
    with pytest.raises(Diverged, match="at step 1; there is no checkpoint yet"):
        next(fresh)


def test_training_touches_no_global_random_state(tmp_path: Path):
    before = torch.random.get_rng_state()
    train(tiny.TABLES, out=tmp_path / "run", overrides=["train.steps=1"]).run(progress=False)
    assert torch.equal(before, torch.random.get_rng_state())


def test_training_takes_its_gradients_whatever_is_around_it_and_says_where_there_are_none(tmp_path: Path):
    short = ["train.steps=1", "train.validate_every=0", "train.snapshots=0", "train.previews=1", "network.width=4"]
    with torch.no_grad():
        assert train("toy-2d", out=tmp_path / "run", overrides=[*short, "data.count=60"]).run(progress=False)
    with torch.inference_mode(), pytest.raises(Refused, match=r"inside torch.inference_mode\(\) there are none"):
        train("toy-2d", out=tmp_path / "other", overrides=short)


def test_the_seed_and_nothing_else_decides(tmp_path: Path):
    def first(name: str, seed: int) -> float:
        training = train(tiny.TABLES, out=tmp_path / name, overrides=[f"train.seed={seed}"])
        next(training)
        return next(training)["loss"]

    torch.manual_seed(1)
    one = first("a", 5)
    torch.manual_seed(2)
    assert first("b", 5) == one != first("c", 6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.stpes=3"], r"train has no 'stpes' \(did you mean 'steps'\?\)"),
        (
            ["conditions.label.drop=0.1", "data.name=swiss_roll"],
            r"the data 'swiss roll' has no 'label' .*remove \[conditions.label\]",
        ),
        (["network.name=convnet"], r"a ConvNet takes sequences \(1\), images \(2\) and volumes \(3\); for points"),
        (["data.name=file", "data.path=absent.npz"], "there is no file absent.npz"),
        (
            ["network.name=unet", "data.name=digits", "network.multipliers=[1,1,1,1,1]", "codec.name=pixels"],
            r"needs a height that 16 divides, not 8: 16 fits",
        ),
    ],
)
def test_a_mistake_is_refused_before_anything_is_written(tmp_path: Path, settings: list[str], message: str):
    with pytest.raises(Refused, match=message):
        train(POINTS, out=tmp_path / "run", overrides=settings)
    assert not (tmp_path / "run").exists()


def test_labels_of_the_data_are_left_alone_without_a_condition(tmp_path: Path):
    model = train(POINTS, out=tmp_path / "run", overrides=["train.steps=1", "train.held_out=0"]).run(progress=False)
    assert not model.classes
    assert "validation_loss" not in json.loads((tmp_path / "run" / "metrics.jsonl").read_text())


@pytest.mark.parametrize("name", ["digits", "digits-ddpm", "toy-2d", "mnist", "mnist-dit", "ddpm-cifar10"])
def test_every_bundled_recipe_takes_a_step(tmp_path: Path, name: str):
    size = 32 if name == "ddpm-cifar10" else 28
    images = np.random.default_rng(0).integers(0, 256, (12, size, size, 3 if size == 32 else 1), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(12) % 10)
    settings = ["train.batch=2", "train.steps=2", "train.preview_every=0", "train.validate_every=0"]
    settings += ["train.snapshots=0", "train.precision=float32"]  # the check of bfloat16 takes three gradients
    if Recipe.find(name)["data"]["name"] == "file":
        settings += [f"data.path={tmp_path / 'own.npz'}", "train.held_out=0.4"]
    training = train(name, out=tmp_path / "run", overrides=settings)
    next(training)
    if name == "ddpm-cifar10":
        assert sum(p.numel() for p in training.module.parameters()) == 35_746_307
    label = 1 if training.result.conditions else None
    assert len(training.result.sample(1, steps=1, label=label)) == 1
