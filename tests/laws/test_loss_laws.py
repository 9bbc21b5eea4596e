"""Laws of reconstruction losses: each teaches encoder and decoder, and is content with a perfect copy."""

from typing import Any

import pytest
import torch
from registered import networks
from tiny_autoencoder import IMAGES, autoencoder, loss, unchanged
from torch import Tensor, nn

from undiffuse.core import registry
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.objective import RUN, Batch
from undiffuse.core.random import Random
from undiffuse.core.reconstruction_loss import Reconstruction
from undiffuse.objectives.autoencoding import Autoencoding

NAMES = registry.names("losses")
LATE = 1000  # a step after any start

NETWORKS: dict[str, Any] = {name: registry.get("networks", name) for name in registry.names("networks")}
AUTOENCODERS = [name for name, each in NETWORKS.items() if each.predicts == "reconstruction"]


def of(term: Any, model: Autoencoder, x: Tensor, x_hat: Tensor | None = None, **which: Any) -> Tensor:
    """The term alone, of a reconstruction by the model, or of another one."""
    posterior = model.posterior(x)
    z = model.latents(posterior)
    x_hat = model.decode(z) if x_hat is None else x_hat
    return term(Reconstruction(model, x, posterior, z, x_hat, torch.zeros(len(x)), Random(3), LATE, **which))


def gradients(term: Any, model: Autoencoder, rows: slice = slice(None)) -> dict[str, Tensor]:
    """Those of the mean over some items, by the objective with this term alone."""
    x = IMAGES.to(model.last_layer.dtype)[rows]
    objective = Autoencoding((term,), penalty_weight=0.0)
    random = Random(3).at(torch.arange(len(IMAGES))[rows])
    model.zero_grad()
    objective.loss(model, Batch(x), random, LATE).mean().backward()
    return {name: p.grad.clone() for name, p in model.network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NAMES)
def test_a_term_alone_teaches_encoder_and_decoder(name: str):
    model = autoencoder()
    found = gradients(loss(name), model)
    assert found.keys() == dict(model.network.named_parameters()).keys()
    weights = {key: gradient for key, gradient in found.items() if key.endswith("weight")}
    assert [key for key, gradient in weights.items() if not gradient.abs().sum() > 0] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_copy_costs_nothing_and_each_item_by_itself(name: str):
    """But for a game, which has no least value: its value is none."""
    term, model, x = loss(name), unchanged(), IMAGES
    torch.testing.assert_close(of(term, model, x), torch.zeros(4), rtol=0, atol=1e-4)
    model = autoencoder()
    found, some = of(term, model, x), of(term, model, x[1:3])
    assert found.shape == (4,)
    torch.testing.assert_close(some, found[1:3], rtol=1e-4, atol=1e-4)
    assert bool((found > 1).all()) or term.players(model)


@pytest.mark.parametrize("name", [n for n in NAMES if not registry.get("losses", n).whole_batch])  # type: ignore[attr-defined]
def test_half_batches_have_the_gradient_of_the_whole(name: str):
    term, model = loss(name), autoencoder()
    gradients(term, model)  # so that it holds what it makes when it is first asked
    held = [model, *(each for each in vars(term).values() if isinstance(each, nn.Module))]
    for module in held:
        module.double()
    whole, one, other = (gradients(term, model, rows) for rows in (slice(None), slice(2), slice(2, None)))
    for module in held:
        module.float()
    for weight, gradient in whole.items():
        torch.testing.assert_close((one[weight] + other[weight]) / 2, gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_what_another_player_lowers_does_not_reach_the_autoencoder(name: str):
    term, model = loss(name), autoencoder()
    for player in term.players(model):
        assert player.name != RUN
        of(term, model, IMAGES, player=player.name).sum().backward()
        assert all(p.grad is None for p in model.parameters())
        moved = [p for module in player.modules for p in module.parameters() if p.ndim > 1]
        assert all(float(p.grad.abs().sum()) > 0 for p in moved)
        assert moved


@pytest.mark.parametrize(
    "name", [n for n in registry.names("networks") if registry.get("networks", n).predicts == "reconstruction"]
)
def test_an_autoencoder_says_how_many_axes_its_data_have(name: str):
    assert all(network.dimensions == given[0].ndim - 2 for network, given in networks(name))
