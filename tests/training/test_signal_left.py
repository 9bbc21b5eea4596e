"""Signal that is left at t = 1, where sampling starts from noise alone, is said before training, with what helps."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from undiffuse.core.errors import Refused
from undiffuse.recipes import build, recipe
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.resolved import resolve
from undiffuse.schedules import LinearBeta
from undiffuse.training.start import train

QUICK = ["train.steps=1", "train.snapshots=0", "train.preview_every=0", "train.validate_every=0", "train.held_out=0"]
VALUES = ["parameterization.name=noise", "objective.name=denoising"]


def told(out: Path, tables: Any, advice: list[str], caplog: pytest.LogCaptureFixture) -> str:
    caplog.clear()
    train(tables, out=out, overrides=[*QUICK, *advice]).run(progress=False)
    return " ".join(record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("schedule", "share"),
    [
        (["name=linear_beta", "steps=100", "beta_start=1e-4", "beta_end=0.02"], "0.60"),
        (["name=scaled_linear_beta", "steps=50"], "0.874"),
        (["name=geometric"], "1"),
        (["name=vp", "beta_max=1"], "0.76"),
        (["name=edm", "sigma_max=3"], "0.333"),
        (["name=linear_beta", "steps=100"], ""),
        (["name=cosine", "steps=20"], ""),
        (["name=edm"], ""),
    ],
    ids=str,
)
def test_signal_left_is_told_with_settings_that_leave_next_to_none(
    schedule: list[str], share: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    sets = [*VALUES, *(f"schedule.{setting}" for setting in schedule)]
    tables = Recipe.find("toy-2d").override(sets).tables
    said = told(tmp_path / "run", tables, [], caplog)
    assert bool(said) == bool(share)
    if share:
        assert re.search(
            rf"spread: {share}\S* of the signal is left at t = 1, where sampling starts from noise alone", said
        )
        advice = re.search(r"--set ((?:[\w.]+=\S+ )+)leaves next to none", said)
        assert advice
        assert not told(tmp_path / "again", tables, advice[1].split(), caplog)


def test_tokens_of_which_much_is_left_are_told_alike(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Of uniform noise the bound is finite, whatever is left."""
    few = ["schedule.name=cosine", "schedule.steps=50", "schedule.max_beta=0.05"]
    assert "of the signal is left at t = 1" in told(tmp_path / "run", "heartbeat-2015", few, caplog)


@pytest.mark.each("name", [name for name in recipe.names() if Recipe.find(name)["schedule"]])
def test_no_recipe_leaves_signal(name: str):
    schedule: Any = build.process(Recipe.find(name)).schedule
    end = torch.ones((), dtype=torch.float64)
    assert float(schedule.alpha(end) / schedule.prior_std(end)) <= 1 / 8


def test_what_the_number_of_steps_says_is_written_into_the_run(tmp_path: Path):
    """So that a run trained today stays what it was, and one trained before 1000/steps keeps its own betas."""
    tables = Recipe.find("digits-ddpm").override(["schedule.steps=100"])
    kept = resolve(tables)["schedule"]
    assert kept == {"name": "linear_beta", "steps": 100, "beta_start": 0.001, "beta_end": 0.2}
    before = tables.override(["schedule.beta_start=1e-4", "schedule.beta_end=0.02"])
    assert build.process(before).schedule == LinearBeta(100, 1e-4, 0.02)
    with pytest.raises(Refused, match=r"take schedule.name=cosine schedule.steps=12, or set schedule.beta_start and"):
        build.check(tables.override(["schedule.steps=12"]))
    build.check(tables.override(["schedule.name=cosine", "schedule.steps=12"]))
    build.check(tables.override(["schedule.steps=12", "schedule.beta_start=0.01", "schedule.beta_end=0.9"]))
