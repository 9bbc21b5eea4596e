"""What autoencoding trains: the decoder alone, a scale that makes a density, and a codebook that goes on as it was."""

import math
from pathlib import Path

import players
import pytest
import tiny_run as tiny
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from undiffuse import Train, Training
from undiffuse.bottlenecks.kl import KLBottleneck
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.losses.gradient import GradientLoss
from undiffuse.losses.l1 import L1Loss
from undiffuse.losses.l2 import L2Loss
from undiffuse.networks.mlp_autoencoder import MLPAutoencoder
from undiffuse.objectives.autoencoding import Autoencoding

X = Random(0).normal((12, 2))


def vae() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(MLPAutoencoder(shape=(2,), outputs=4, width=8), KLBottleneck())


def test_with_a_frozen_encoder_the_decoder_alone_moves():
    model = vae()
    first = {name: value.clone() for name, value in model.state_dict().items()}
    settings = Train(3, batch=4, lr=0.1, warmup=0, snapshots=0)
    Training(model, Autoencoding(frozen_encoder=True), TensorDataset(X), settings).run(progress=False)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, first[name])}
    assert moved == {name for name in first if name.startswith("network.decoder.")}


def test_the_loss_is_the_sum_of_weighted_terms_and_the_price_of_latents():
    model, batch, random = vae(), Batch(X), Random(3)
    found = Autoencoding((L1Loss(2.0), L2Loss(0.5)), penalty_weight=0.25).loss(model, batch, random)
    posterior = model.posterior(X)
    error = model.decode(posterior.sample(random.fold(0))) - X
    wanted = 2 * error.abs().sum(1) + 0.5 * error.square().sum(1) + 0.25 * model.bottleneck.penalty(posterior, X)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("term", [L1Loss(2.0), L2Loss(0.5)])
def test_with_a_learned_scale_the_loss_is_minus_a_density_that_integrates_to_one(term: L1Loss | L2Loss):
    model = vae().double()
    with torch.no_grad():
        model.log_scale.fill_(-0.7)
    objective = Autoencoding((term,), penalty_weight=0.0, learned_scale=True)
    x, random = X.double(), Random(1)
    z = model.latents(model.posterior(x), random.fold(0))
    torch.testing.assert_close(objective.loss(model, Batch(x), random), -objective.log_density(model, x, z))
    line = torch.linspace(-12, 12, 481, dtype=torch.float64)
    plane = torch.cartesian_prod(line, line)
    total = objective.log_density(model, plane, z[:1].expand(len(plane), -1)).exp().sum() * (line[1] - line[0]) ** 2
    assert float(total.detach()) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("term", [L1Loss(), L2Loss()])
def test_the_best_scale_of_a_known_error_is_its_size(term: L1Loss | L2Loss):
    """d loss / d s = 0 at e^s = mean |error|, and at a variance e^s / 2 = mean error^2."""
    model = vae()
    error = model.decode(model.latents(model.posterior(X), Random(0).fold(0))) - X
    best = error.abs().mean() if term == L1Loss() else 2 * error.square().mean()
    with torch.no_grad():
        model.log_scale.fill_(math.log(float(best)))
    Autoencoding((term,), learned_scale=True).loss(model, Batch(X), Random(0)).mean().backward()
    grad: Tensor | None = model.log_scale.grad
    assert grad is not None
    assert abs(float(grad)) < 1e-4


def test_what_is_no_density_is_refused():
    with pytest.raises(Refused, match="a first loss that is a density, l1 or l2, not GradientLoss"):
        Autoencoding((GradientLoss(),), learned_scale=True)
    with pytest.raises(Refused, match="learned_scale needs a first loss of a weight above 0"):
        Autoencoding((L1Loss(0.0),), learned_scale=True)
    with pytest.raises(Refused, match=r"no density .* belongs to these losses: L1Loss, L2Loss; l1 or l2 alone are one"):
        Autoencoding((L1Loss(), L2Loss())).log_density(vae(), X, X)


def test_a_codebook_goes_on_bit_for_bit(tmp_path: Path):
    """Averages, counts, and the latents that dead codes are moved onto."""
    settings = {"dead_below": 1.5, "decay": "constant"}
    players.quantising(tmp_path / "whole", 5, **settings).run(progress=False)
    players.quantising(tmp_path / "parts", 2, **settings).run(progress=False)
    players.quantising(tmp_path / "parts", 5, **settings).resume().run(progress=False)
    whole, parts = tiny.tensors(tmp_path / "whole"), tiny.tensors(tmp_path / "parts")
    codes = [name for name in whole if "bottleneck." in name]
    assert codes
    assert all(torch.equal(whole[name], parts[name]) for name in codes)
    assert int(next(whole[name] for name in codes if name.endswith("revived"))) > 0
