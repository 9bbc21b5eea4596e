"""Runs of flow maps from a recipe: trained, saved, loaded, shown and sampled as any other."""

from pathlib import Path
from typing import Any

import pytest
import tiny_run as tiny
import torch

from undiffuse import load
from undiffuse.cli.main import main
from undiffuse.core.errors import Refused
from undiffuse.likelihood import ode
from undiffuse.recipes import build
from undiffuse.recipes.recipe import Recipe
from undiffuse.samplers import Jump
from undiffuse.training.start import train

TABLES: dict[str, Any] = {
    **tiny.TABLES,
    "schedule": {"name": "flow"},
    "parameterization": {"name": "flow"},
    "denoiser": {"jumps": "any", "guidance_input": [1, 4]},
    "objective": {"name": "mean_flow"},
    "network": {"name": "unet", "width": 4, "multipliers": [1], "blocks": 1, "attention": [0], "time_scale": 0.02},
    "sampler": {"name": "jump", "steps": 2},
    "train": {**tiny.TABLES["train"], "steps": 5, "warmup": 0, "validate_every": 5, "previews": 2, "snapshots": 0},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jumps") / "run"
    train(TABLES, out=folder).run(progress=False)
    return folder


def test_a_flow_map_is_trained_and_sampled_by_its_own_sampler(folder: Path, capsys: pytest.CaptureFixture[str]):
    run: Any = load(folder, precision="float32")
    assert run.denoiser.jumps == "any"
    assert run.denoiser.guidance_input == (1.0, 4.0)
    session = run.open(n=3, label=2)
    assert session.sampler == Jump()
    assert session.steps == 2
    x = torch.zeros(2, 1, 8, 8, dtype=torch.float32)
    there = run.denoiser(x, 0.8, to=0.1, guidance=2.0).mean
    assert not torch.equal(there, run.denoiser(x, 0.8, to=0.1).mean)  # what it is told has been learned already
    assert not torch.equal(there, run.denoiser(x, 0.8, to=0.7, guidance=2.0).mean)
    assert {"validation_flow_matching", "validation_loss"} <= tiny.metrics(folder)[-1].keys()
    with pytest.raises(SystemExit, match="0"):
        main(["show", str(folder)])
    assert "a flow map, which jumps from any time to any" in capsys.readouterr().out


def test_a_flow_map_has_no_likelihood(folder: Path):
    run: Any = load(folder, precision="float32")
    with pytest.raises(Refused, match="a flow map was trained to jump, and its guesses need not be the means of any"):
        ode(run.denoiser, torch.zeros(2, 1, 8, 8, dtype=torch.float64))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"denoiser": {}},
            "objective 'mean_flow' does not train an ordinary denoiser, .*: set denoiser.jumps = \"any\", not 'none'",
        ),
        (
            {"objective": {"name": "denoising"}},
            "objective 'denoising' does not train a flow map, .*: set denoiser.jumps = \"none\", not 'any'",
        ),
        (
            {"denoiser": {"jumps": "any", "variance": "learned_range"}},
            "denoiser.jumps is for guesses of values, without a variance and not of embeddings: leave it out",
        ),
        (
            {"conditions": {"label": {"drop": 0.0}}},
            "objective 'mean_flow' with guidance needs a condition that training drops at times: set conditions.label",
        ),
        (
            {"network": {"name": "ncsn"}, "conditions": {}},
            r"network 'ncsn' takes no vector, and so cannot be told where to jump to \(denoiser.jumps\); .*unet",
        ),
    ],
)
def test_recipes_that_do_not_go_together_are_refused(changed: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        build.check(Recipe.find({**TABLES, **changed}))
