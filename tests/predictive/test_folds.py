"""Regressors that leave items out: what they tell of items that they learned from is as good as of new ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.core.folded_predictor import FoldedPredictor
from undiffuse.core.objective import Batch
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.networks.mlp_classifier import MLPClassifier
from undiffuse.objectives.regression import Regression
from undiffuse.parameterizations.velocity import Velocity
from undiffuse.recipes.recipe import Recipe
from undiffuse.schedules import LinearBeta

X = Random(0).normal((64, 3))
QUIET = ["train.preview_every=0", "train.checkpoint_every=0", "train.validate_every=0", "train.held_out=0"]


def folded(outputs: int = 2) -> FoldedPredictor:
    torch.manual_seed(0)
    members: list[nn.Module] = [MLPClassifier(outputs, (3,), width=8, depth=2, bands=2) for _ in range(8)]
    for member in members:
        nn.init.normal_(member.leave.weight)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
    return FoldedPredictor(members, Gaussian(LinearBeta()), Velocity())


@pytest.mark.each("label", [False, True])
def test_a_member_never_learns_from_what_it_leaves_out(label: bool):
    model = folded()
    learns = model.learns(X)
    assert learns.sum(0).tolist() == [6] * 64  # of eight two leave an item out
    assert learns.sum(1).min() > 30
    assert torch.equal(model.learns(X[5:9]), learns[:, 5:9])  # the item alone says it
    target = (X[:1, 0] > 0).long() if label else X[:1, :2]
    Regression(folds=8).loss(model, Batch(X[:1], {"y": target}), Random(0)).sum().backward()
    moved = [any(p.grad is not None and bool(p.grad.any()) for p in each.parameters()) for each in members(model)]
    assert moved == learns[:, 0].tolist()
    told = torch.stack([each(X, torch.zeros(64, dtype=torch.float32)) for each in members(model)])
    torch.testing.assert_close(model.each(X, 0.0).mean(0), model(X, 0.0))
    assert not torch.allclose(told[0], told[1])
    alone = model.each(X, 0.0)[:, 0][~learns[:, 0]].mean(0)
    torch.testing.assert_close(model.without(X)[0], alone)


def members(model: FoldedPredictor) -> Any:
    return model.network.members


def test_few_rows_of_noise_are_known_by_heart_and_told_as_if_they_were_new(tmp_path: Path):
    """Of 60 rows nothing can be learned here: residuals of new rows have deviation 1 or more, and so have these."""
    random = np.random.default_rng(0)
    table = tmp_path / "noise.csv"
    rows = [f"{a:.4f},{b:.4f},{y:.4f}" for a, b, y in random.standard_normal((60, 3))]
    table.write_text("\n".join(["a,b,y", *rows]))
    asked = [f"data.path={table}", "data.target=y", "train.steps=150", "network.width=48", "train.warmup=10", *QUIET]
    run = undiffuse.train("card-regressor", out=tmp_path / "run", overrides=asked).run(progress=False)
    x, y = torch.from_numpy(run.recipe.component("data").load().x), run.recipe.component("data").load()
    aim = torch.from_numpy(y.conditions["target"]).double()
    known, new = (float((run.told_of(x, learned) - aim).square().mean().sqrt()) for learned in (False, True))
    assert known < 0.7 * float(aim.std())
    assert new > 0.9 * float(aim.std())
    again = undiffuse.load(tmp_path / "run")
    torch.testing.assert_close(again.told_of(x, learned=True), run.told_of(x, learned=True))


def test_numbers_that_are_refused():
    with pytest.raises(Refused, match="regression needs folds of at least 1, not 0"):
        Regression(folds=0)
    with pytest.raises(Refused, match="bands = -1: an MLP takes 0 or more"):
        MLPClassifier(2, (3,), bands=-1)
    assert Recipe.find("card-regressor")["objective"]["folds"] == 8
