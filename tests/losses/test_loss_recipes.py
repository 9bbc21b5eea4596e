"""Losses in a recipe: a run trains with them, needs them no more afterwards, and refuses what does not fit."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.sampling.evaluation_request import EvaluationRequest

DRAW = np.random.default_rng(0)
TRAIN = {
    "steps": 4,
    "batch": 8,
    "previews": 4,
    "snapshots": 0,
    "warmup": 0,
    "held_out": 0.2,
    "log_every": 1,
    "precision": "float32",
}


def tables(place: Path, *losses: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A recipe on 40 pictures of noise with two labels, which are written to a file."""
    np.savez(
        place / "pictures.npz", images=DRAW.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8), labels=np.arange(40) % 2
    )
    return {
        "kind": "autoencoder",
        "data": {"name": "file", "path": str(place / "pictures.npz")},
        "codec": {"name": "pixels"},
        "network": {"name": "mlp_autoencoder", "latent_channels": 3, "width": 16, "depth": 1},
        "bottleneck": {"name": "kl"},
        "objective": {"name": "autoencoding", "losses": list(losses)},
        "train": TRAIN,
        **changed,
    }


def test_a_recipe_trains_with_many_losses_and_a_run_of_ones_own(tmp_path: Path):
    """The classifier that compares is needed for training alone."""
    classifier = tables(
        tmp_path,
        kind="classifier",
        schedule={"name": "cosine"},
        parameterization={"name": "velocity"},
        network={"name": "encoder", "width": 8, "multipliers": [1, 1], "blocks": 1, "attention": []},
        objective={"name": "label_cross_entropy"},
        conditions={"label": {}},
    )
    del classifier["bottleneck"]
    undiffuse.train(classifier, out=tmp_path / "classifier").run(progress=False)
    recipe = tables(
        tmp_path,
        {"name": "l1"},
        {"name": "laplacian", "levels": 2},
        {"name": "dct", "weight": 0.1},
        {"name": "gradient"},
        {"name": "perceptual", "network": str(tmp_path / "classifier")},
        {"name": "patch_gan", "start": 2, "layers": 1, "width": 4},
    )
    training = undiffuse.train(recipe, out=tmp_path / "run")
    objective: Any = training.objective
    compares = objective.losses[4].network
    before = [p.clone() for p in compares.parameters()]
    seen = [("loss_discriminator" in numbers, numbers["loss"]) for numbers in training]
    assert [game for game, _ in seen] == [False, False, True, True]
    assert all(np.isfinite(loss) for _, loss in seen)
    assert all((p == old).all() and p.grad is None for p, old in zip(compares.parameters(), before, strict=True))
    more = undiffuse.train(recipe, out=tmp_path / "run", overrides=["train.steps=5"], resume=True)
    assert more.run(progress=False).facts["step"] == 5
    other = "classifier' was trained on what codec 'pixels' makes of data, and this recipe's codec is 'whiten': take a"
    with pytest.raises(Refused, match=other):
        undiffuse.train({**recipe, "codec": {"name": "whiten"}}, out=tmp_path / "other")
    shutil.rmtree(tmp_path / "classifier")
    run = undiffuse.load(tmp_path / "run")
    assert run.reconstruct(np.zeros((2, 1, 8, 8), np.uint8)).shape == (2, 1, 8, 8)
    assert run.evaluate(EvaluationRequest()) is not None
    assert not run.lossless_bound


@pytest.mark.parametrize(
    ("losses", "codec", "message"),
    [
        (
            [{"name": "l1"}, {"name": "perceptual"}],
            "whiten",
            r"loss 'perceptual' reads pixels in \[-1, 1\], and codec 'whiten' makes other numbers of the data: take",
        ),
        ([{"name": "lpips"}], "identity", "loss 'lpips' reads pixels"),
        ([{"name": "perceptual", "network": "runs/none"}], "pixels", "there is no run at runs/none"),
        ([{"name": "equivariance"}], "pixels", r"equivariance scales latents along their axes, .* shape \(3,\)"),
        ([{"name": "patch_gan"}], "pixels", "a patch discriminator of 3 layers needs a height of at least 24"),
        ([{"name": "laplace"}], "pixels", r"losses has no 'laplace' \(did you mean 'laplacian'\?\)"),
    ],
)
def test_losses_that_do_not_fit_are_refused_before_anything_is_written(
    losses: list[dict[str, Any]], codec: str, message: str, tmp_path: Path
):
    with pytest.raises(Refused, match=message):
        undiffuse.train(tables(tmp_path, *losses, codec={"name": codec}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
