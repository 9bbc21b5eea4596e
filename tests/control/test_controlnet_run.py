"""Runs of kind controlnet: trained on a frozen base, saved with it, asked for alone and beside others, and refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latent_spaces import base

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.editing.inverse_problems import inpaint
from undiffuse.evaluation.judge import Judge
from undiffuse.models.load import load
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.steering import Control

pytestmark = pytest.mark.usefixtures("quick_evaluation")

TABLES: dict[str, Any] = {
    "kind": "controlnet",
    "data": {"name": "file", "path": "pictures.npz"},
    "base": {"run": "base"},
    "conditions": {"edges": {"kind": "image", "of": "edges"}},
    "train": {"steps": 3, "batch": 4, "lr": 0.1, "warmup": 0, "preview_every": 3, "validate_every": 0, "snapshots": 0},
}
STEPS: dict[str, Any] = {"steps": 2, "seed": 1, "label": "b"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, pictures, a control by edges and one by a map."""
    place = tmp_path_factory.mktemp("control")
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(place / "pictures.npz", images=x, labels=np.array(["a", "b"])[np.arange(40) % 2])
    own = base().recipe.with_tables(data={"name": "file", "path": str(place / "pictures.npz")})
    replace(base(), recipe=own).save(place / "base")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        undiffuse.train(TABLES, out="edges").run()
        undiffuse.train({**TABLES, "conditions": {"map": {"kind": "image", "of": "layout:2:4"}}}, out="map").run()
        low = {"kind": "image", "of": "superresolve:2", "noise": 0.5}
        undiffuse.train({**TABLES, "conditions": {"low": low}}, out="low").run()
        init = {"run": "base", "lora": {"rank": 1, "targets": "all"}}
        tables = load("base").recipe.tables
        undiffuse.train({**tables, "init": init, "train": TABLES["train"]}, out="style").run()
    return place


@pytest.fixture(autouse=True)
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (1, 8, 8), dtype=np.uint8) * np.uint8(255)


def drawn(run: Any, **asked: Any) -> np.ndarray:
    return run.sample(3, **{**STEPS, **asked}).numpy()


def test_a_run_holds_its_base_and_all_but_the_control_is_the_base(folder: Path) -> None:
    run, own = load("edges"), load("base")
    assert list(run.conditions) == ["label", "edges"]
    assert run.conditions["label"] == own.conditions["label"]
    assert (run.codec, run.shape, run.denoiser.process) == (own.codec, own.shape, own.denoiser.process)
    for table in ("schedule", "network", "parameterization", "objective", "sampler"):
        assert run.recipe[table] == own.recipe[table]
    held = run.uses["base.run"].tensors()
    assert held.keys() == own.tensors().keys()
    assert all(torch.equal(held[name], each) for name, each in own.tensors().items())
    assert not any(name.startswith("base") for name in run.module.state_dict())
    assert (folder / "edges/previews/step_000003.png").exists()
    assert "base.run, inside" in " ".join(run.tree())
    run.save("again")
    assert np.array_equal(drawn(load("again"), edges=picture()), drawn(run, edges=picture()))


def test_untrained_it_draws_what_its_base_draws_bit_for_bit() -> None:
    run = load("edges")
    fresh = replace(run, module=type(run).build(run.description).eval())
    assert np.array_equal(drawn(fresh, edges=picture()), drawn(load("base")))
    assert not np.array_equal(drawn(run, edges=picture()), drawn(load("base")))


def test_controls_are_asked_for_beside_a_base_by_weight_and_interval() -> None:
    plain, edges, both = load("base"), load("edges"), {"edges": picture(), "map": picture(1)}
    with_edges = drawn(edges, edges=picture())
    assert np.array_equal(drawn(plain, edges=picture(), controlnet="edges"), with_edges)
    for nothing in ("edges:0", ("edges", 0.0, None), "edges:1:0:0.0001", (edges, 1, (1000, 2000))):
        assert np.array_equal(drawn(plain, edges=picture(), controlnet=[nothing]), drawn(plain))
    late = drawn(plain, edges=picture(), controlnet="edges:1:0:5")
    assert not np.array_equal(late, drawn(plain))
    assert not np.array_equal(late, with_edges)
    assert np.array_equal(drawn(plain, edges=picture(), controlnet="edges:1:0:inf"), with_edges)
    two = drawn(plain, **both, controlnet=["edges", "map:0.5"])
    assert np.array_equal(two, drawn(edges, **both, controlnet=["map:0.5"]))
    assert np.array_equal(two, drawn(plain, **both, controlnet=["map:0.5", "edges"]))
    assert not np.array_equal(two, with_edges)
    assert np.array_equal(drawn(plain, **both, controlnet=["edges", "map:0"]), with_edges)
    session = plain.open(edges=picture(), controlnet=["edges:0.5"], n=1)
    assert session.model.facts["controls"] == ["edges:0.5"]
    assert session.request.to_json()["controlnet"] == ["edges:0.5"]


def test_a_lora_of_the_base_and_a_control_go_together() -> None:
    run, asked = load("base"), {"lora": {"style": 0.8}}
    styled = drawn(run, **asked)
    assert not np.array_equal(styled, drawn(run))
    assert np.array_equal(drawn(run, **asked, edges=picture(), controlnet=["edges:0"]), styled)
    both = drawn(run, **asked, edges=picture(), controlnet=["edges"])
    assert not np.array_equal(both, styled)
    assert not np.array_equal(both, drawn(run, edges=picture(), controlnet=["edges"]))
    assert np.array_equal(drawn(load("edges"), **asked, edges=picture()), both)


def test_the_picture_of_a_control_may_have_noise() -> None:
    run, asked = load("base"), {"low": picture(), "controlnet": ["low"]}
    plain, noisy = drawn(run, **asked), drawn(run, **asked, augmentation=0.4)
    assert not np.array_equal(plain, noisy)
    assert np.array_equal(noisy, drawn(run, **asked, augmentation=0.4))
    assert np.array_equal(noisy, drawn(load("low"), low=picture(), augmentation=0.4))
    with pytest.raises(Refused, match=r"noise of a level from 0 to 0\.5 was trained, and asked for is 0\.8"):
        drawn(run, **asked, augmentation=0.8)


def test_a_controlled_run_is_evaluated_and_edited_like_any_other() -> None:
    request = SampleRequest(n=10, steps=2, controlnet=["edges"])
    found = load("base").evaluate(EvaluationRequest(request=request, how=Judge(metrics=("frechet",))))
    assert found.save(Path("judged"), Path("base"))
    assert '"controlnet"' in Path("judged/evaluation.json").read_text()
    known = np.ones((8, 8), bool)
    known[:4] = False
    how: dict[str, Any] = {"edges": picture(), "label": "a", "steps": 2}
    painted = inpaint(load("edges"), picture(2), known, **how)
    assert np.array_equal(painted.numpy()[0, 0][known], picture(2)[0][known])
    assert torch.equal(inpaint(load("base"), picture(2), known, controlnet="edges", **how), painted)


def test_a_control_of_another_base_is_refused_with_both_shown() -> None:
    other, model = replace(load("base")), load("edges")
    network = other.module.network
    with torch.no_grad():
        network.enter.bias.add_(1)
    with pytest.raises(Refused, match=r"of the same shapes: the digest of its weights is \w{12}, and here"):
        drawn(other, edges=picture(), controlnet=[model])
    wide = base(3)
    with pytest.raises(Refused, match=r"enter.weight is \(8, 1, 3, 3\) there, and \(8, 3, 3, 3\) here"):
        wide.sample(1, edges=picture(), controlnet=[model])


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("base", "is a model of samples, and a run of kind controlnet is needed"),
        ("edges:x", "write RUN, RUN:WEIGHT or RUN:WEIGHT:LOW:HIGH"),
        ("edges:1:2", "write RUN, RUN:WEIGHT or RUN:WEIGHT:LOW:HIGH"),
        ("edges:1:5:2", r"a guidance interval is \(low, high\]"),
        ("nowhere", "there is no run at nowhere"),
        (3, r"a run of kind controlnet, its folder, or \(run, weight, interval\), not 3"),
        (("edges", "much"), "the weight of a controlnet"),
    ],
)
def test_what_is_no_control_is_refused(asked: Any, says: str) -> None:
    with pytest.raises(Refused, match=says):
        drawn(load("base"), edges=picture(), controlnet=[asked])


def test_a_control_needs_its_picture_and_a_name_of_its_own() -> None:
    with pytest.raises(Refused, match="the model needs 'edges'"):
        drawn(load("base"), controlnet="edges")
    with pytest.raises(Refused, match="two controls have a condition of the name 'edges'"):
        drawn(load("edges"), edges=picture(), controlnet="edges")
    assert str(Control.of(("a", 2.0, (0.5, 80.0)))) == "a:2:0.5:80"
    assert str(Control.of("C:/a:0.5")) == "C:/a:0.5"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"network": {"name": "unet", "width": 16}},
            r"network.width = 16, and a run of kind 'controlnet' has",
        ),
        ({"conditions": {}}, r"needs a condition that its base does not have \(those are: label\)"),
        (
            {"conditions": {"style": {"kind": "vector"}}},
            "a control is an image or a map, and conditions.style is",
        ),
        ({"base": {"run": "edges"}}, "is a controlnet itself: train on its own base"),
        ({"base": {"run": "nowhere"}}, "base.run = 'nowhere': there is no run at nowhere"),
        ({"base": {"path": "base"}}, "base has no 'path'"),
        ({"control": {"widths": []}, "conditions": {"edges": {"kind": "image", "of": "edgs"}}}, "did you mean 'edges'"),
    ],
)
def test_a_recipe_that_does_not_go_with_its_base_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Refused, match=says):
        undiffuse.train({**TABLES, **changes}, out="refused")


def test_data_that_the_base_does_not_know_are_refused() -> None:
    def refused(says: str, **arrays: Any) -> None:
        np.savez("others.npz", **arrays)
        with pytest.raises(Refused, match=says):
            undiffuse.train(TABLES, out="refused", overrides=["data.path=others.npz"])

    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    labels = np.array(["a", "b"])[np.arange(40) % 2]
    refused("the data 'others' has no 'label'", images=x, labels=np.array(["a", "c"])[np.arange(40) % 2])
    grey = (x / 255).astype(np.float32)
    refused("the run's data are uint8, and those of others are float32", images=grey, labels=labels)
    refused(r"samples of shape \(1, 8, 4\), and the base draws \(1, 8, 8\)", images=x[..., :4], labels=labels)
