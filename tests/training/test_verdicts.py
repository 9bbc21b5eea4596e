"""Verdicts on real runs that are known to be good or bad, and on what the shipped recipes are expected to do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.reports import training_page
from undiffuse.reports.verdicts import verdicts
from undiffuse.training.start import train

POINTS: dict[str, Any] = {
    "data": {"name": "moons", "count": 400},
    "codec": {"name": "whiten"},
    "schedule": {"name": "flow"},
    "network": {"name": "mlp", "width": 32, "depth": 2, "waves": 4},
    "parameterization": {"name": "flow"},
    "objective": {"name": "denoising", "weighting": "snr_plus_one", "times": "stratified"},
    "train": {
        "steps": 90,
        "batch": 64,
        "lr": 3e-3,
        "warmup": 10,
        "snapshots": 0,
        "checkpoint_every": 0,
        "precision": "float32",
        "preview_every": 0,
        "validate_every": 30,
    },
}
FEW = ["data.count=30", "network.width=128", "train.held_out=0.4", "train.steps=180"]
BAD = {
    "Stuck": ["train.lr=1e-9"],
    "Diverging": ["train.lr=1e6", "train.clip=0", "train.warmup=2000"],
    "Overfitting": [*FEW, "train.ema=1.0"],
    "The average lags": ["train.ema_decay=0.995"],
}


def labels(run: Path) -> dict[str, str]:
    story = training_page.read(run)
    return {card.label: card.grade for card in verdicts(story.curves, story.spoiled)}


@pytest.mark.parametrize("settings", [[], ["train.validate_every=0"], ["train.steps=200", "train.batch=16"]])
def test_a_run_that_is_good_is_healthy(tmp_path: Path, settings: list[str]):
    train(POINTS, out=tmp_path / "run", overrides=settings).run(progress=False)
    assert labels(tmp_path / "run") == {"Healthy": "good"}


@pytest.mark.parametrize("label", BAD)
def test_a_run_that_is_bad_is_told_what_is_amiss(tmp_path: Path, label: str):
    train(POINTS, out=tmp_path / "run", overrides=BAD[label]).run(progress=False)
    assert label in labels(tmp_path / "run")
    assert "Healthy" not in labels(tmp_path / "run")


@pytest.mark.parametrize("name", [path.stem for path in sorted(training_page.EXPECTED.glob("*.json"))])
def test_what_the_shipped_recipes_are_expected_to_do_is_never_red(name: str):
    curve = json.loads((training_page.EXPECTED / f"{name}.json").read_text())
    steps, losses = curve["step"], curve["validation_loss"]
    assert steps[0] == 0
    between = np.linspace(10, steps[-1], 100).astype(int).tolist()
    loss = np.interp(between, steps, losses).tolist()
    for first in (0, 1):  # with the start, as it is measured now, and without, as it once was
        validation = (steps[first:], losses[first:])
        found = {"validation_loss": validation, "validation_loss_raw": validation, "loss": (between, loss)}
        assert {card.label for card in verdicts(found)} == {"Healthy"}
        late = {"validation_loss": validation, "loss": (steps[1:] * 3, losses[1:] * 3)}
        assert "poor" not in {card.grade for card in verdicts(late)}


def test_what_was_learned_before_the_first_validation_counts():
    """A run that has converged by its first validation is not stuck, and one that gained nothing by then is."""
    steps = list(range(10, 4010, 10))
    fallen = [0.95 + 0.5 * np.exp(-step / 60) for step in steps]
    flat = ([500, 1000, 2000, 4000], [0.949, 0.946, 0.942, 0.941])
    assert {card.label for card in verdicts({"loss": (steps, fallen), "validation_loss": flat})} == {"Healthy"}
    still = [0.95 + 0.01 * (step % 3) for step in steps]
    assert {card.label for card in verdicts({"loss": (steps, still), "validation_loss": flat})} == {"Stuck"}
    start = ([0, *flat[0]], [0.95, *flat[1]])
    assert {card.label for card in verdicts({"loss": (steps, still), "validation_loss": start})} == {"Stuck"}
    assert {card.label for card in verdicts({"loss": (steps[300:], still[300:])})} == {"Healthy"}  # no start, no word
