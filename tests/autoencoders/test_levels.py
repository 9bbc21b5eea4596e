"""Training on the probability of levels: the loss is the bound that evaluation measures."""

import pytest
import torch
from tiny_autoencoder import IMAGES, autoencoder

from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.core.registry import build
from undiffuse.likelihood import Decoder
from undiffuse.objectives.autoencoding import Autoencoding

LEVELS = Decoder(levels=16)
X = LEVELS.low + ((IMAGES - LEVELS.low) / LEVELS.width).round() * LEVELS.width


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_the_loss_is_the_bound_of_the_levels_with_gradients_for_all(name: str):
    term, model = build("losses", {"name": name, "weight": 2.0}), autoencoder()
    objective = Autoencoding((term,), penalty_weight=1.0, learned_scale=True, levels=16)
    found = objective.loss(model, Batch(X), Random(0))
    posterior = model.posterior(X)
    z = model.latents(posterior, Random(0).fold(0))
    wanted = posterior.kl(model.bottleneck.prior) - objective.log_density(model, X, z, LEVELS)
    torch.testing.assert_close(found, wanted.float(), rtol=1e-5, atol=1e-3)
    found.mean().backward()
    for weight in model.parameters():
        assert weight.grad is not None
        assert bool(weight.grad.isfinite().all())
        assert float(weight.grad.abs().sum()) > 0


def test_levels_need_one_density_with_a_scale_and_data_on_them():
    l1, l2 = (build("losses", {"name": name}) for name in ("l1", "l2"))
    for told in (
        {},
        {"losses": (l1, l2), "learned_scale": True},
        {"losses": (l2,), "learned_scale": True, "levels": 1},
    ):
        with pytest.raises(Refused, match="2 or more, with learned_scale = true and the loss l1 or l2 alone"):
            Autoencoding(**{"levels": 16, **told})
    objective = Autoencoding((l2,), learned_scale=True, levels=16)
    with pytest.raises(Refused, match="between the 16 levels"):
        objective.loss(autoencoder(), Batch(IMAGES), Random(0))
