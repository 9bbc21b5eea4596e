"""An autoencoder is a run like any other: it trains, saves, loads, goes on, and works in the data's own units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_autoencoders import PICTURES, tables

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    place = tmp_path_factory.mktemp("run")
    return place / "vae", undiffuse.train(tables(place), out=place / "vae").run(progress=False)


def test_what_is_loaded_is_what_was_trained_and_encodes_and_decodes_pixels(run: tuple[Path, Any]):
    folder, trained = run
    loaded = undiffuse.load(folder, precision="float32")
    z = loaded.encode(PICTURES)
    assert torch.equal(z, trained.encode(PICTURES))
    assert z.shape == (40, *loaded.latent_shape((1, 8, 8)))
    made = loaded.decode(z)
    assert made.dtype == torch.uint8
    assert made.shape == PICTURES.shape
    assert torch.equal(made, loaded.reconstruct(PICTURES))
    assert list((folder / "previews").glob("*.png"))


def test_a_draw_of_latents_depends_on_its_item_alone_and_has_the_posteriors_spread(run: tuple[Path, Any]):
    _, vae = run
    many = np.repeat(PICTURES[:1], 4000, axis=0)
    drawn, posterior = vae.encode(many, Random(1)), vae.posterior(PICTURES[:1])
    torch.testing.assert_close(drawn.mean(0), posterior.mean[0], atol=0.06, rtol=0)
    torch.testing.assert_close(drawn.var(0), posterior.var[0], rtol=0.1, atol=0)
    torch.testing.assert_close(vae.encode(many[:3], Random(1)), drawn[:3])


def test_a_resumed_run_is_the_uninterrupted_one(run: tuple[Path, Any], tmp_path: Path):
    whole = run[1].module.state_dict()
    half = tables(tmp_path)
    half["train"] = {**half["train"], "steps": 4, "checkpoint_every": 2}
    first = undiffuse.train(half, out=tmp_path / "run")
    for numbers in first:
        if numbers["step"] == 2:
            first.stop.signal = 15
    assert first.step < 4
    on = undiffuse.train(half, out=tmp_path / "run", resume=True).run(progress=False)
    assert all(torch.equal(value, whole[name]) for name, value in on.module.state_dict().items())


def test_fine_tuning_of_the_decoder_leaves_the_latents_as_they_are(run: tuple[Path, Any], tmp_path: Path):
    folder, vae = run
    objective = {"name": "autoencoding", "losses": [{"name": "l2"}], "frozen_encoder": True}
    changed = {"objective": objective, "init": {"run": str(folder)}}
    tuned = undiffuse.train(tables(tmp_path, **changed), out=tmp_path / "run").run(progress=False)
    assert torch.equal(tuned.encode(PICTURES), vae.encode(PICTURES))
    assert not torch.equal(tuned.reconstruct(PICTURES), vae.reconstruct(PICTURES))


@pytest.mark.parametrize("bottleneck", ["vq", "none"])
def test_every_bottleneck_makes_a_run(bottleneck: str, tmp_path: Path):
    made = {"bottleneck": {"name": bottleneck}, "train": {"steps": 1, "batch": 8, "preview_every": 0, "snapshots": 0}}
    undiffuse.train(tables(tmp_path, **made), out=tmp_path / "run").run(progress=False)
    loaded = undiffuse.load(tmp_path / "run")
    assert loaded.reconstruct(PICTURES[:3]).shape == (3, 1, 8, 8)
    if loaded.vocabulary:
        assert loaded.tokens(PICTURES).dtype == torch.int64
    else:
        with pytest.raises(Refused, match="NoneBottleneck has no codebook"):
            loaded.tokens(PICTURES)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": {"name": "unet"}}, "network 'unet' predicts data.*mlp_autoencoder"),
        ({"schedule": {"name": "vp"}}, r"kind 'autoencoder' has no table \[schedule\]"),
        ({"codec": {"name": "levels"}}, "codec 'levels' is not for values"),
        ({"bottleneck": {"name": "lk"}}, "bottlenecks has no 'lk'.*'kl'"),
        ({"network": {"name": "mlp_autoencoder", "latent_channels": 0}}, "at least 1, not 0"),
        ({"network": {"name": "mlp_autoencoder", "outputs": 3}}, "outputs = 3: bottleneck 'kl' needs 4"),
        ({"network": {"name": "mlp_autoencoder", "activation": "sine"}}, "it can be silu, relu, tanh"),
        ({"objective": {"name": "denoising"}}, "objective 'denoising' predicts data"),
        ({"objective": {"name": "autoencoding", "losses": []}}, "needs losses, at least one"),
        ({"objective": {"name": "autoencoding", "penalty_weight": -1.0}}, "penalty_weight of 0 or more, not -1"),
    ],
)
def test_what_an_autoencoder_cannot_be_is_refused(changed: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(Refused, match=message):
        undiffuse.train(tables(tmp_path, **changed), out=tmp_path / "run")
