"""The codes of an autoencoder with a codebook are tokens, of which a discrete diffusion model makes pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latent_runs import QUIET, tables
from latent_spaces import Blocks

import undiffuse
from undiffuse.codecs.latent_tokens import LatentTokens
from undiffuse.core.errors import Refused
from undiffuse.editing import complete
from undiffuse.evaluation.evaluate import refuse_lossy
from undiffuse.sampling.evaluation_request import silent


@pytest.fixture(scope="module")
def codes(place: Path) -> Path:
    """An autoencoder with a codebook of 8."""
    recipe = {
        "kind": "autoencoder",
        "data": {"name": "file", "path": str(place / "images.npz")},
        "codec": {"name": "pixels"},
        "network": {"name": "autoencoder_kl", "latent_channels": 2, "width": 8, "multipliers": [1, 1], "blocks": 1},
        "bottleneck": {"name": "vq", "size": 8},
        "objective": {"name": "autoencoding", "losses": [{"name": "l2"}]},
        "train": QUIET,
    }
    undiffuse.train(recipe, out=place / "vq").run(progress=False)
    return place / "vq"


def test_codes_train_a_model_of_tokens_that_draws_pixels(place: Path, codes: Path):
    recipe = tables(
        place,
        codec={"name": "latent_tokens", "autoencoder": str(codes)},
        process={"name": "categorical"},
        schedule={"name": "log_linear"},
        network={"name": "transformer", "width": 16, "depth": 1, "heads": 2},
        sampler={"name": "ancestral", "steps": 3},
    )
    del recipe["parameterization"]
    undiffuse.train(recipe, out=place / "tokens").run(progress=False)
    model = undiffuse.load(place / "tokens", precision="float32")
    x = np.moveaxis(np.load(place / "images.npz")["images"], -1, 1)
    codec: Any = model.codec
    z = codec.encode(x)
    assert z.shape == (120, 16)
    assert z.dtype == torch.int64
    assert codec.vocabulary == 8
    assert sum(codec.frequencies) == pytest.approx(1)
    space = undiffuse.load(codes, precision="float32")
    assert torch.equal(codec.decode(z[:5]), space.reconstruct(x[:5]))
    drawn = model.sample(3, label=1)
    assert drawn.shape == (3, 3, 8, 8)
    assert drawn.kind == "images"
    assert drawn.dtype == torch.uint8
    with pytest.raises(Refused, match=r"lossy codec, 'latent_tokens', is not known"):
        model.scores(undiffuse.Dataset(x), 0, silent)


def test_an_autoencoder_without_a_codebook_is_refused():
    with pytest.raises(Refused, match=r"codec\.autoencoder has no codebook.*bottleneck\.name = 'vq'"):
        LatentTokens(Blocks())


def prior(place: Path, codes: Path, **changed: Any) -> dict[str, Any]:
    return {
        "kind": "autoregressive",
        "data": {"name": "file", "path": str(place / "images.npz")},
        "codec": {"name": "latent_tokens", "autoencoder": str(codes), "grid": True},
        "network": {"name": "pixelcnn", "width": 8, "depth": 2, "kernel": 3},
        "objective": {"name": "maximum_likelihood"},
        "train": QUIET,
        **changed,
    }


def test_codes_train_a_pixelcnn_that_sees_them_as_symbols(place: Path, codes: Path):
    made = undiffuse.train(prior(place, codes), out=place / "pixelcnn").run(progress=False)
    model: Any = undiffuse.load(place / "pixelcnn")
    assert model.shape == (1, 4, 4)
    assert "table.weight" in model.module.state_dict()
    drawn = model.sample(3, seed=1)
    assert drawn.shape == (3, 3, 8, 8)
    assert torch.equal(drawn, made.sample(3, seed=1))
    x = np.moveaxis(np.load(place / "images.npz")["images"], -1, 1)
    z = model.codec.encode(x[:2])
    assert z.shape == (2, 1, 4, 4)
    assert torch.equal(z.flatten(1), LatentTokens(model.codec.autoencoder).encode(x[:2]))
    seen = model.module._scaled(z)
    row = torch.stack(list(model.module.network.walk(seen)), dim=2).reshape(2, 8, 4, 4)  # value after value
    torch.testing.assert_close(row, model.module.network(seen)[:, 0], atol=1e-5, rtol=1e-4)
    with pytest.raises(Refused, match="lossy codec, 'latent_tokens', is not known"):
        refuse_lossy(model)
    with pytest.raises(Refused, match="draws the codes of an autoencoder, each of which is of many pixels"):
        complete(model, x[0], np.zeros((3, 8, 8)))


def test_symbols_without_an_order_are_refused_where_levels_are_needed(place: Path, codes: Path):
    flat = {"name": "latent_tokens", "autoencoder": str(codes)}
    for changed, message in (
        (
            {"codec": flat},
            r"not of items of shape \(16,\): of codes of latents --set codec.grid=true keeps where they stand",
        ),
        ({"network": {"name": "fvbn"}}, "makes symbols without an order, and network 'fvbn' takes levels.*pixelcnn"),
        ({"head": {"name": "logistic_mixture"}}, "and head 'logistic_mixture' takes neighbours for alike: --set head"),
    ):
        with pytest.raises(Refused, match=message):
            undiffuse.train(prior(place, codes, **changed), out=place / "none")
