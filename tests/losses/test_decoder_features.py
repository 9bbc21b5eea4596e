"""A guess of latents is judged in the decoder, too: by relative errors there, where the noise is weak."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_loss_recipes import tables
from torch import Tensor, nn

import undiffuse
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.process.categorical import Categorical, mask
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.objectives import Denoising
from undiffuse.objectives.decoder_features import DecoderFeatures
from undiffuse.schedules import VP, LogLinear

Z = Random(0).normal((4, 2, 3, 3))
T = VP().time(torch.tensor([4.0, 0.1, -0.1, -4.0], dtype=torch.float64))  # at these log SNR


class Off(Denoiser):
    """The guess is the latents, off by an error that is learned."""

    def __init__(self, error: Tensor, process: Any = None) -> None:
        self.process, self.error = process or Gaussian(VP()), error

    def __call__(self, x_t: Any, t: Any, **cond: Any) -> Normal:
        return Normal(Z + self.error)

    def state_of(self, x_0: Any) -> Any:
        return x_0


def codec(**layers: Any) -> Any:
    return SimpleNamespace(lossy=True, features=lambda z: [layer(z) for layer in layers.values()])


def test_it_adds_the_relative_error_of_every_layer_where_the_signal_is_stronger_than_the_noise():
    error = torch.full_like(Z, 0.3)
    decoder = codec(doubled=lambda z: 2 * z, first=lambda z: z[:, :1])
    found = DecoderFeatures(weight=0.5).at(T, Off(error), Batch(Z, codec=decoder), Random(0))
    relative = [0.09 * 2 / Z.square().sum(1), 0.09 / Z[:, :1].square().sum(1)]
    term = sum(each.flatten(1).mean(1) for each in relative) / 2
    wanted = Denoising().at(T, Off(error), Batch(Z), Random(0)) + 0.5 * term * torch.tensor([1.0, 1, 0, 0])
    torch.testing.assert_close(found, wanted.to(found.dtype), rtol=1e-2, atol=1e-5)
    torch.testing.assert_close(
        DecoderFeatures().at(T, Off(0 * Z), Batch(Z, codec=decoder), Random(0)), torch.zeros(4, dtype=found.dtype)
    )


def test_what_the_decoder_does_not_see_is_not_counted_and_the_decoder_learns_nothing():
    error = torch.full_like(Z, 0.3).requires_grad_()
    blind = nn.Conv2d(2, 4, 1)
    nn.init.zeros_(blind.weight[:, 1:])
    blind.requires_grad_(False)
    loss = DecoderFeatures(base=Denoising("data")).at(T, Off(error), Batch(Z, codec=codec(one=blind)), Random(0))
    plain = Denoising("data").at(T, Off(error), Batch(Z), Random(0))
    (seen,) = torch.autograd.grad((loss - plain).sum(), error)
    assert float(seen[:2, 0].abs().min()) > 0
    assert not seen[:, 1].any()
    assert not seen[2:].any()
    assert blind.weight.grad is None


def test_a_recipe_trains_on_the_decoder_of_its_codecs_own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    undiffuse.train(tables(tmp_path, {"name": "l1"}), out=tmp_path / "vae").run(progress=False)
    recipe = tables(
        tmp_path,
        kind="diffusion",
        codec={"name": "latent", "autoencoder": str(tmp_path / "vae")},
        schedule={"name": "cosine"},
        parameterization={"name": "velocity"},
        network={"name": "mlp", "width": 8},
        objective={"name": "lpl", "snr": 0.01},
        sampler={"name": "ddim", "steps": 2},
    )
    del recipe["bottleneck"]
    training = undiffuse.train(recipe, out=tmp_path / "run")
    plain = Denoising().loss(training.module, batch := training.data.at(0), Random(3))  # type: ignore[attr-defined]
    assert bool((training.objective.loss(training.module, batch, Random(3)) >= plain).all())
    assert not torch.equal(training.objective.loss(training.module, batch, Random(3)), plain)
    run = training.run(progress=False)
    assert run.sample(2, seed=0).shape == (2, 1, 8, 8)
    assert np.isfinite(run.sample(2, seed=0).numpy()).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DecoderFeatures(weight=-1.0), "needs a weight of 0 or more and an snr above 0, not -1 and 1"),
        (lambda: DecoderFeatures(snr=0.0), "an snr above 0, not 1 and 0"),
        (
            lambda: DecoderFeatures().at(T, Off(0 * Z), Batch(Z), Random(0)),
            "by their autoencoder's decoder, and these data have none: take denoising, or codec.name = 'latent'",
        ),
        (
            lambda: DecoderFeatures().loss(
                Off(0 * Z, Categorical(LogLinear(), mask(3))), Batch(Z, codec=codec()), Random(0)
            ),
            "decoder_features is for values, and Categorical is a process of tokens",
        ),
    ],
)
def test_what_cannot_be_judged_in_a_decoder_is_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()


def test_a_codec_without_a_decoder_is_refused_before_anything_is_written(tmp_path: Path):
    recipe = tables(
        tmp_path,
        kind="diffusion",
        schedule={"name": "cosine"},
        parameterization={"name": "velocity"},
        network={"name": "convnet", "width": 4, "depth": 2},
        objective={"name": "decoder_features"},
    )
    del recipe["bottleneck"]
    with pytest.raises(Refused, match="decoder_features judges latents by their autoencoder's decoder"):
        undiffuse.train(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
