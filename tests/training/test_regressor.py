"""A regressor: numbers or classes of clean or noisy items, from its recipe to its evaluation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.models.load import generator
from undiffuse.recipes import build
from undiffuse.sampling.evaluation_request import EvaluationRequest

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(600, 2)).astype(np.float32)
Y = np.stack([3 * X[:, 0] + 40, X[:, 0] - 2 * X[:, 1]], axis=1).astype(np.float32)
TABLES: dict[str, Any] = {
    "kind": "regressor",
    "data": {"name": "file", "conditions": {"height": "y"}},
    "codec": {"name": "whiten"},
    "schedule": {"name": "edm"},
    "network": {"name": "mlp_classifier", "width": 32, "depth": 2},
    "parameterization": {"name": "edm"},
    "objective": {"name": "regression"},
    "conditions": {"height": {"kind": "vector"}},
    "train": {"steps": 150, "batch": 128, "lr": 0.02, "warmup": 0, "snapshots": 0, "validate_every": 150},
}


def tables(folder: Path, **changes: Any) -> dict[str, Any]:
    np.savez(folder / "data.npz", x=X, y=Y, labels=(X[:, 0] > 0).astype(int))
    return {**TABLES, "data": {**TABLES["data"], "path": str(folder / "data.npz")}, **changes}


def test_numbers_are_told_in_their_own_units(tmp_path: Path):
    made = undiffuse.train(tables(tmp_path), out=tmp_path / "run").run(progress=False)
    assert isinstance(made, undiffuse.Regressor)
    run = undiffuse.load(tmp_path / "run")
    told = run.predict(X[:100])
    assert torch.equal(told, made.predict(X[:100]))
    np.testing.assert_allclose(told.numpy(), Y[:100], atol=1.5)
    found = run.evaluate(EvaluationRequest())
    assert found.held_out[0] > 0.98
    assert found.save(tmp_path, tmp_path) == ["evaluation.json"]
    said = json.loads((tmp_path / "evaluation.json").read_text())
    assert said["metrics"]["r2"]["value"] == pytest.approx(found.held_out[0])
    assert run.about() == {"tells": "height: 2 numbers"}
    assert next(found.printed()).startswith("r2 at t = 0: ")
    assert "validation_loss" in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_classes_of_noisy_items_are_told_worse_with_more_noise(tmp_path: Path):
    noisy = tables(
        tmp_path,
        data={"name": "file", "path": str(tmp_path / "data.npz")},
        objective={"name": "regression", "noisy": True, "times": "log_uniform"},
        conditions={"label": {}},
    )
    run = undiffuse.train(noisy, out=tmp_path / "run").run(progress=False)
    clean = run.evaluate(EvaluationRequest()).held_out
    assert clean[0] > 0.9
    assert clean[0] > clean[-1]
    np.testing.assert_allclose(run.predict(X[:5]).sum(1).numpy(), 1, rtol=1e-5)
    with pytest.raises(Refused, match=r"run holds a regressor, which draws none: it tells of items, by"):
        generator(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditions": {}}, r"a regressor tells one thing: write one table \[conditions.NAME\], not 0"),
        (
            {"conditions": {"a": {"kind": "text"}}},
            "tells a label or a vector, and conditions.a.kind is 'text'",
        ),
        ({"conditions": {"label": {"drop": 0.1}}}, "a regressor needs every value: conditions.label.drop must be 0"),
        ({"network": {"name": "mlp"}}, "network 'mlp' predicts data, and a run of kind 'regressor' needs one that pre"),
        (
            {"objective": {"name": "denoising"}},
            "objective 'denoising' predicts data, and a run of kind 'regressor' nee",
        ),
        ({"sampler": {"steps": 1}}, r"a recipe of kind 'regressor' has no table \[sampler\]: leave it out"),
    ],
)
def test_recipes_that_are_no_regressor_are_refused(tmp_path: Path, changes: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        build.check(undiffuse.Recipe.find(tables(tmp_path, **changes)))
