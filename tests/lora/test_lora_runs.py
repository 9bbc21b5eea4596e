"""LoRA of a run: trained, resumed, saved without its base, added to it with a weight, and written as a whole run."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.sampling.lora import export_lora, export_merged
from undiffuse.storage.files import read_tensors, write_tensors
from undiffuse.training import checkpoint
from undiffuse.tuning.grids import grid

DIGITS = str(Path(__file__).parents[1] / "training" / "digits.npz")  # 300 of them
FEW: dict[str, Any] = {
    "steps": 2,
    "batch": 8,
    "lr": 0.05,
    "warmup": 0,
    "validate_every": 0,
    "preview_every": 0,
    "checkpoint_every": 0,
    "snapshots": 0,
    "precision": "float32",
    "held_out": 0.1,
}
TABLES: dict[str, Any] = {
    "data": {"name": "file", "path": DIGITS},
    "codec": {"name": "pixels"},
    "schedule": {"name": "edm"},
    "network": {"name": "unet", "width": 8, "multipliers": [1], "blocks": 1, "attention": [0], "dropout": 0.1},
    "parameterization": {"name": "edm"},
    "objective": {"name": "denoising", "weighting": "edm", "times": "log_normal"},
    "conditions": {"label": {"drop": 0.3}},
    "sampler": {"name": "heun", "steps": 2, "guidance": 1.5},
    "train": FEW,
}
ASKED: dict[str, Any] = {"label": 3, "steps": 2}


def tables(base: Path, train: dict[str, Any] | None = None, **init: Any) -> dict[str, Any]:
    return {**TABLES, "init": {"run": str(base), **init}, "train": {**FEW, **(train or {})}}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "base"
    undiffuse.train(TABLES, out=folder).run(progress=False)
    return folder


@pytest.fixture(scope="module")
def style(base: Path) -> Path:
    """Of all layers, four steps with a checkpoint in the middle."""
    settings = {"steps": 4, "checkpoint_every": 2, "validate_every": 2}
    given = tables(base, settings, lora={"rank": 3, "alpha": 6, "targets": "all"})
    undiffuse.train(given, out=base.parent / "style").run(progress=False)
    return base.parent / "style"


def test_the_files_of_a_lora_hold_a_and_b_alone_and_name_their_base(base: Path, style: Path):
    held, about = read_tensors(style / "model.safetensors", "model")
    assert all(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in held)
    assert about["lora"]["run"] == str(base)
    assert (about["lora"]["rank"], about["lora"]["alpha"]) == (3, 6.0)
    newest = checkpoint.newest(style)
    assert newest is not None
    names = checkpoint.load(newest)[0]
    assert {name.split(".")[-2] for name in names if name.startswith(("weights.", "average."))} == {"lora_A", "lora_B"}
    assert all("lora_" in name for name in names)
    assert sum(each.numel() for each in held.values()) == about["parameters"]


def test_a_lora_goes_on_bit_for_bit_and_is_stopped_by_another_base(base: Path, style: Path, tmp_path: Path):
    shutil.copytree(style, tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "checkpoints" / "00000004")
    undiffuse.train(tmp_path / "half", resume=True).run(progress=False)
    one, other = (checkpoint.newest(folder) for folder in (style, tmp_path / "half"))
    assert one is not None
    assert other is not None
    mine, theirs = (checkpoint.load(path)[0] for path in (one, other))
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    with pytest.raises(Refused, match=r"was trained with init.lora.rank = 3, and this is init.lora.rank = 2"):
        undiffuse.train(tmp_path / "half", resume=True, overrides=["init.lora.rank=2"])


def test_a_loaded_lora_is_its_base_with_the_lora_added_and_the_base_stays_as_it_is(base: Path, style: Path):
    plain, whole = undiffuse.load(base, "float32"), undiffuse.load(style, "float32")
    before = plain.sample(2, **ASKED)
    expected = whole.sample(2, **ASKED)
    assert not torch.equal(before, expected)
    with_lora = plain.sample(2, lora=f"{style}:1", **ASKED)
    assert torch.equal(with_lora, expected)
    assert with_lora.request.to_json()["lora"] == {str(style): 1.0}
    assert torch.equal(plain.sample(2, lora=[f"{style}:0.5", style, f"{style}:-0.5"], **ASKED), expected)
    assert torch.equal(plain.sample(2, lora={style: 0}, **ASKED), before)
    assert torch.equal(plain.sample(2, **ASKED), before)
    assert "with a LoRA of rank 3" in str(whole.tree())
    assert whole.recipe["init"] == {"run": str(base)}


def test_a_lora_is_written_as_a_run_of_its_own_and_as_files_for_peft(base: Path, style: Path, tmp_path: Path):
    whole = undiffuse.load(style, "float32")
    export_merged(style, whole, tmp_path / "merged")
    expected = whole.sample(2, **ASKED)
    again = undiffuse.load(tmp_path / "merged", "float32")
    assert torch.equal(again.sample(2, **ASKED), expected)
    assert again.module.state_dict().keys() == undiffuse.load(base).module.state_dict().keys()
    assert export_lora(style, whole, tmp_path / "peft") == ["adapter_config.json", "adapter_model.safetensors"]
    said = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (said["peft_type"], said["r"], said["lora_alpha"]) == ("LORA", 3, 6.0)
    plain = undiffuse.load(base, "float32")
    assert torch.equal(plain.sample(2, lora=tmp_path / "peft", **ASKED), expected)
    with pytest.raises(Refused, match=r"style is a LoRA, .*: first `undiffuse export .*style --format merged -o "):
        grid(style)
    for write in (export_lora, export_merged):
        with pytest.raises(Refused, match=r"base is a whole run and no LoRA: train one by `undiffuse train"):
            write(base, plain, tmp_path / "none")
        with pytest.raises(Refused, match=r"peft is there already"):
            write(style, whole, tmp_path / "peft")


def test_another_base_a_changed_one_and_one_that_is_gone_are_refused(base: Path, style: Path, tmp_path: Path):
    tall = {**TABLES, "network": {**TABLES["network"], "width": 16}}
    other = undiffuse.train(tall, out=tmp_path / "other").run(progress=False)
    with pytest.raises(Refused, match=r"LoRA .*style is for another base: .*: 8 x 3 times 3 x 8 there, 16 x 16"):
        other.sample(1, lora=style, **ASKED)
    changed = undiffuse.load(base, "float32")
    for weight in changed.module.parameters():
        weight.mul_(1.5)
    with pytest.raises(Refused, match=r"this run has other weights \(\w+\) than the base of this LoRA \(\w+, .*base\)"):
        changed.sample(1, lora=style, **ASKED)
    for path, message in (
        (base, r"base is a whole run and no LoRA: draw its samples by `undiffuse sample .*base`"),
        (tmp_path / "nowhere", r"there is no LoRA at .*nowhere"),
        (tmp_path, r"holds no LoRA: a run of one, adapter_config.json with adapter_model.safetensors, or pytorch_lora"),
    ):
        with pytest.raises(Refused, match=message):
            changed.sample(1, lora=path, **ASKED)
    with pytest.raises(Refused, match=r"lora .*style is a finite weight, not inf"):
        changed.sample(1, lora={style: float("inf")}, **ASKED)
    held, about = read_tensors(style / "model.safetensors", "model")
    gone = {**about, "lora": {**about["lora"], "run": str(tmp_path / "gone")}}
    broken = {**about, "lora": {**about["lora"], "rank": 0}}
    half = {name: value for name, value in held.items() if "down" not in name or "lora_A" in name}
    for tensors, said, message in (
        (
            held,
            gone,
            r"is a LoRA of the run .*gone: there is no run at .*; if the base is elsewhere, sample it with",
        ),
        (held, broken, r"its description lacks or spoils 'lora.rank'"),
        (half, about, r"is broken: it holds '.*lora_A.weight' without '.*lora_B.weight'"),
        ({}, about, r"it says that it is a LoRA and holds no A and B"),
    ):
        (tmp_path / "lora").mkdir(exist_ok=True)
        write_tensors(tmp_path / "lora" / "model.safetensors", tensors, said)
        with pytest.raises(Refused, match=message):
            undiffuse.load(tmp_path / "lora")


@pytest.mark.each(
    ("changes", "message"),
    [
        ({"init": {"lora": {"rank": 9}}}, r"init.lora.rank = 9 is above the rank of '.*', whose weight is"),
        ({"init": {"lora": {"rank": 0}}}, r"init.lora.rank must be at least 1, not 0"),
        ({"init": {"lora": {"alpha": 0}}}, r"init.lora.alpha must be above 0, not 0"),
        ({"init": {"lora": {"targets": []}}}, r"init.lora.targets names no layer"),
        ({"init": {"lora": {"rnak": 4}}}, r"init.lora has no 'rnak' \(did you mean 'rank'\?\)"),
        ({"init": {"lora": 8}}, r"init.lora is a table, as init.lora = \{ rank = 8 \}, not 8"),
        ({"init": {"prior": {"share": 1.0}}}, r"init.prior.share is a share of the items between 0 and 1, not 1"),
        ({"init": {"prior": {"count": 0}}}, r"init.prior.count must be at least 1, not 0"),
        ({"init": {"prior": {"seed": -1}}}, r"init.prior.seed must be 0 or more, not -1"),
        ({"init": {"prior": {}}}, r"init.prior.conditions says nothing of 'label', which the data have"),
        (
            {"init": {"prior": {"conditions": {"text": "a"}}}},
            r"init.prior.conditions: init.run has no condition 'text'; it has label",
        ),
        (
            {"network": {**TABLES["network"], "width": 16}, "init": {"lora": {}}},
            r"a LoRA keeps the network of its base, and this recipe has another: network.*: 32 x 8 there, 64 x 16 here",
        ),
        (
            {"conditions": {}, "init": {"lora": {}}},
            r"conditions of its base: .*base has label, and this recipe has",
        ),
        (
            {"data": {"name": "file", "path": DIGITS, "size": 4}, "init": {"lora": {}}},
            r"a LoRA has items of its base's shape: those of .*base are \(1, 8, 8\), and these data are \(1, 4, 4\)",
        ),
    ],
)
def test_what_a_lora_and_a_prior_cannot_be_is_refused(
    changes: dict[str, Any], message: str, base: Path, tmp_path: Path
):
    given = {**TABLES, **changes, "init": {"run": str(base), **changes["init"]}}
    with pytest.raises(Refused, match=message):
        undiffuse.train(given, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_samples_of_the_base_are_a_share_of_the_data_and_are_drawn_once(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Three pictures of one class of many, in the base's classes, and eight samples: a quarter and three quarters."""
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    with np.load(DIGITS) as whole:
        keys = list(whole)
        few = {key: whole[key][:3] for key in keys}
    label = next(key for key in keys if few[key].ndim == 1)
    few[label] = np.array([7, 7, 7], few[label].dtype)
    np.savez(tmp_path / "few.npz", **few)
    prior = {"count": 8, "share": 0.75, "conditions": {"label": ["1", "2"]}}
    given = tables(base, {"held_out": 0.0, "batch": 11}, lora={"rank": 2}, prior=prior)
    given["data"] = {"name": "file", "path": str(tmp_path / "few.npz")}
    training = undiffuse.train(given, out=tmp_path / "one")
    batch = training.data.at(0)
    assert sorted(batch.cond["label"].tolist()) == [1] * 4 + [2] * 4 + [7] * 3  # an epoch: each sample once
    drawn = undiffuse.load(base, "float32").sample(8, label=["1", "2"] * 4)
    pictures = {tuple(each.flatten().tolist()) for each in training.data.codec.encode(drawn.numpy())}
    inside = {tuple(x.flatten().tolist()) for x, which in zip(batch.x, batch.cond["label"], strict=True) if which != 7}
    assert inside == pictures
    training.run(progress=False)
    monkeypatch.setattr(type(undiffuse.load(base)), "sample", None)  # it is not asked again
    again = undiffuse.train(given, out=tmp_path / "two").data.at(0)
    assert torch.equal(again.x, batch.x)
    whole = tables(base, {"held_out": 0.0}, prior=prior)  # fine-tuning of all weights
    whole["data"] = given["data"]
    assert len(undiffuse.train(whole, out=tmp_path / "whole").data) == 11
    few[label] = np.array([77, 77, 77], few[label].dtype)
    np.savez(tmp_path / "few.npz", **few)
    with pytest.raises(Refused, match=r"has the class '77', and .*base knows 0, 1, 2"):
        undiffuse.train(given, out=tmp_path / "three")


def test_a_classifier_has_a_lora_too(tmp_path: Path):
    """The base, its LoRA, and both together by their path."""
    classifier = {
        **{name: table for name, table in TABLES.items() if name not in ("sampler", "parameterization", "objective")},
        "kind": "classifier",
        "network": {"name": "mlp_classifier", "width": 8},
        "objective": {"name": "label_cross_entropy"},
        "conditions": {"label": {}},
        "parameterization": {"name": "edm"},
    }
    undiffuse.train(classifier, out=tmp_path / "base").run(progress=False)
    init = {"run": str(tmp_path / "base"), "lora": {"rank": 2, "targets": "all"}}
    trained = undiffuse.train({**classifier, "init": init}, out=tmp_path / "lora").run(progress=False)
    whole = undiffuse.load(tmp_path / "lora", "float32")
    x, t = torch.randn(2, 1, 8, 8), torch.full((2,), 0.5, dtype=torch.float64)
    label = torch.tensor([1, 2])
    torch.testing.assert_close(whole.module(x, t, label), trained.module(x, t, label), rtol=1e-4, atol=1e-5)
    with pytest.raises(Refused, match=r"is of kind 'classifier', and this recipe is of kind 'diffusion': a LoRA is of"):
        undiffuse.train(tables(tmp_path / "base", lora={}), out=tmp_path / "other")
