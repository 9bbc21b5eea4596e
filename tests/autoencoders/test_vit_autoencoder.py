"""A transformer as autoencoder: any size that the patch divides, along one to three axes."""

from typing import Any

import pytest
import torch
from torch import nn

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.networks.vit_autoencoder import ViTAutoencoder

SMALL: dict[str, Any] = {"channels": 2, "latent_channels": 3, "outputs": 6, "patch": 2, "width": 16, "depth": 1}


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_latent_belongs_to_its_patch_and_attention_sees_all(dimensions: int):
    torch.manual_seed(0)
    network = ViTAutoencoder(**SMALL, dimensions=dimensions)
    x = Random(0).normal((2, 2, *(4,) * dimensions))
    h, other = network.encode(x), x.clone()
    assert tuple(h.shape[1:]) == (6, *network.latent_shape(tuple(x.shape[1:]))[1:])
    other[(slice(None), slice(None), *(slice(0, 2),) * dimensions)] += 1
    apart = (network.encode(other) - h).flatten(2).abs().sum((0, 1)) > 1e-6
    assert apart.tolist() == [True] + [False] * (len(apart) - 1)  # blocks are the identity before training
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    assert ((network.encode(other) - network.encode(x)).flatten(2).abs().sum((0, 1)) > 1e-6).all()
    network(x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
    assert network.decode(h[:, :3]).shape == x.shape
    assert [f.shape[1:] for f in network.features(h[:, :3])] == [(16, *h.shape[2:])]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"patch": 0}, "patch = 0: a ViT autoencoder needs at least 1"),
        ({"heads": 3}, "width that 2 x heads divides"),
        ({"dimensions": 4}, "dimensions = 4: a ViT autoencoder takes"),
    ],
)
def test_networks_that_cannot_be_are_refused(fields: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        ViTAutoencoder(**{**SMALL, **fields})


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(Refused, match=r"patch = 2 needs a height that 2 divides, not 5: .* or choose another"):
        ViTAutoencoder(**SMALL).latent_shape((2, 5, 4))
