"""A pair of encoders from its recipe to what it guides, judges and refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.models.clip import CLIPRun
from undiffuse.models.load import load

Undiffuse = Callable[..., Any]
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (20, 40, 230), "grey": (128, 128, 128)}
DENOISING: dict[str, Any] = {
    "codec": {"name": "pixels"},
    "schedule": {"name": "edm"},
    "parameterization": {"name": "edm"},
}
NOISE = {"name": "log_normal", "mean": -0.8, "std": 1.4}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of 4 x 4 pixels of a colour, each with its caption."""
    random, names = np.random.default_rng(0), list(COLOURS)
    which = np.arange(240) % len(names)
    noise = random.normal(size=(240, 4, 4, 3)) * 20
    x = np.clip(np.array(list(COLOURS.values()))[which, None, None] + noise, 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("colours") / "colours.npz"
    np.savez(path, images=x, labels=which, captions=np.array([f"a {names[i]} square" for i in which]))
    return path


def tables(data: Path, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "clip",
        "data": {"name": "file", "path": str(data), "conditions": {"text": "captions"}},
        **DENOISING,
        "network": {"name": "vit", "patch": 2, "width": 16, "depth": 1, "heads": 2},
        "text_network": {"name": "text_transformer", "width": 16, "depth": 1},
        "objective": {"name": "contrastive", "noisy": True, "times": NOISE},
        "conditions": {"text": {"kind": "text", "length": 16}},
        "train": {"steps": 60, "batch": 48, "lr": 0.01, "warmup": 5, "snapshots": 0, "validate_every": 30},
        **changes,
    }


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "clip"
    undiffuse.train(tables(data), out=folder).run(progress=False)
    return folder


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the squares without any condition, trained for a moment."""
    folder = tmp_path_factory.mktemp("runs") / "squares"
    denoising = {
        "data": {"name": "file", "path": str(data)},
        **DENOISING,
        "network": {"name": "mlp", "width": 48, "depth": 2},
        "objective": {"name": "denoising", "weighting": "edm", "times": NOISE},
        "train": {"steps": 80, "batch": 64, "lr": 0.01, "warmup": 5, "snapshots": 0},
    }
    undiffuse.train(denoising, out=folder).run(progress=False)
    return folder


def test_items_and_their_captions_are_brought_together(run: Path, data: Path):
    pair: Any = load(run)
    assert isinstance(pair, CLIPRun)
    with np.load(data) as file:
        x = file["images"].transpose(0, 3, 1, 2)[:4]
    alike = pair.similarity(x, [f"a {name} square" for name in COLOURS])
    assert alike.shape == (4, 4)
    assert torch.equal(alike.argmax(1), torch.arange(4))
    assert pair.encode_image(x).norm(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    logged = (run / "metrics.jsonl").read_text()
    assert "validation_own text nearest" in logged or "own text nearest" in logged
    with pytest.raises(Refused, match=r"reads items of shape \(3, 4, 4\), not \(1, 8, 8\)"):
        pair.encode_image(np.zeros((2, 1, 8, 8), np.uint8))
    large = np.repeat(np.repeat(x, 2, 2), 2, 3)
    assert torch.equal(pair.encode_image(large), pair.encode_image(x))  # made small by the mean of each block


def test_an_evaluation_tells_retrieval_beside_chance_and_classes_by_their_names(
    undiffuse_: Undiffuse, run: Path, tmp_path: Path
):
    done = undiffuse_("evaluate", run, "-o", tmp_path)
    assert done.status == 0, done.err
    assert "class told by its name" in done.out
    said = json.loads((tmp_path / "evaluation.json").read_text())["metrics"]
    assert said["zero_shot"]["count"] > 20
    assert said["item to text 1 of 10"]["value"] > 0.9
    assert said["item to text 1 of 10"]["detail"]["chance"] == 0.1
    shown = " ".join(undiffuse_("show", run).out.split())
    assert "brings together clean and noisy items and text: a text of up to 16 tokens, read by bytes" in shown


@pytest.mark.each("form", ["guess", "mean"])
def test_a_text_leads_a_model_that_knows_no_texts(
    form: str, undiffuse_: Undiffuse, run: Path, model: Path, tmp_path: Path
):
    settings = ["--sampler", "ancestral", "--classifier-form", "mean"] if form == "mean" else []
    pair: Any = load(run)
    alike: list[float] = []
    for weight in (0, 4):
        out = tmp_path / f"{weight}.npz"
        asked = ["--text", "a blue square", "--classifier", run, "--guidance", weight, "--steps", 12]
        done = undiffuse_("sample", model, "-n", 12, "-o", out, *asked, *settings)
        assert done.status == 0, done.err
        with np.load(out) as file:
            alike.append(float(pair.similarity(file["images"].transpose(0, 3, 1, 2), "a blue square").mean()))
    assert alike[1] > alike[0] + 0.1
    done = undiffuse_("sample", model, "-n", 2, "--classifier", run)
    assert done.status == 2
    assert "a classifier needs a text: which text to guide to" in " ".join(done.err.split())


def test_a_pair_of_clean_items_leads_by_the_clean_guess(run: Path, model: Path, data: Path, tmp_path: Path):
    clean = tables(
        data, objective={"name": "contrastive"}, schedule={"name": "cosine"}, parameterization={"name": "velocity"}
    )
    undiffuse.train(clean, out=tmp_path / "clean").run(progress=False)
    pair: Any = load(tmp_path / "clean")
    drawer: Any = load(model)
    told = {"classifier": pair, "text": "a red square", "steps": 12, "seed": 1}
    alike = [
        float(pair.similarity(drawer.sample(12, guidance=w, **told).numpy(), "a red square").mean()) for w in (0.0, 4.0)
    ]
    assert alike[1] > alike[0] + 0.1
    assert drawer.sample(2, guidance=1.0, **told).captions == ("a red square",)
    with pytest.raises(Refused, match="the form 'mean' asks of noisy samples, and the classifier knows clean ones"):
        drawer.sample(2, sampler="ancestral", classifier_form="mean", **told)


def test_samples_with_captions_are_judged_by_a_pair_of_encoders(
    undiffuse_: Undiffuse, run: Path, data: Path, tmp_path: Path
):
    told = {
        "data": {"name": "file", "path": str(data), "conditions": {"text": "captions"}},
        **DENOISING,
        "network": {"name": "unet", "width": 8, "multipliers": [1], "blocks": 1, "attention": [], "text_width": 8},
        "objective": {"name": "denoising", "weighting": "edm", "times": NOISE},
        "conditions": {"text": {"kind": "text", "length": 16, "drop": 0.1}},
        "train": {"steps": 4, "batch": 16, "snapshots": 0},
    }
    undiffuse.train(told, out=tmp_path / "told").run(progress=False)
    done = undiffuse_(
        "evaluate",
        tmp_path / "told",
        "--features",
        f"run:{run}",
        "-n",
        20,
        "--steps",
        4,
        "--metrics",
        "clip_score,frechet",
    )
    assert done.status == 0, done.err
    assert "CLIP score" in done.out
    said = json.loads((tmp_path / "told" / "evaluation.json").read_text())
    assert said["metrics"]["clip_score"]["floor"] > said["metrics"]["clip_score"]["value"]
    assert said["features"]["features"] == "run"
    done = undiffuse_("evaluate", tmp_path / "told", "--features", "pixels", "--metrics", "clip_score")
    assert done.status == 2
    assert "--features run:FOLDER of a pair of encoders" in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditions": {"label": {}}}, "reads items and one text of each"),
        ({"conditions": {"text": {"kind": "text", "drop": 0.1}}}, "needs every text: conditions.text.drop must be 0"),
        ({"network": {"name": "mlp"}}, "network 'mlp' predicts data, and a run of kind 'clip' needs one that predicts"),
        (
            {"text_network": {"name": "mlp"}},
            "text_network 'mlp' reads no texts; networks that do are: .*text_transformer",
        ),
        ({"text_network": {"name": "text_transformer", "widht": 3}}, "widht"),
        ({"train": {"steps": 2, "accumulate": 2}}, "computes a batch in parts"),
    ],
)
def test_what_makes_no_pair_is_refused_by_name(changes: dict[str, Any], message: str, data: Path, tmp_path: Path):
    with pytest.raises(Refused, match=message):
        undiffuse.train(tables(data, **changes), out=tmp_path / "run")
