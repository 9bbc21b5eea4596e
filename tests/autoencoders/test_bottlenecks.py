"""Bottlenecks: what they cost against their formulas, what gradient they pass, and how a codebook learns."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.bottlenecks.kl import KLBottleneck
from undiffuse.bottlenecks.none import NoneBottleneck
from undiffuse.bottlenecks.vq import VQBottleneck
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.networks.mlp_autoencoder import MLPAutoencoder


def test_the_penalty_is_the_divergence_of_its_formula():
    h = Random(0).normal((5, 6, 4), dtype=torch.float64)
    mean, log_var = h[:, :3], h[:, 3:]
    kl = KLBottleneck()
    found = kl.penalty(kl.posterior(h), mean)
    torch.testing.assert_close(found, 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum((1, 2)))
    assert torch.equal(NoneBottleneck().penalty(NoneBottleneck().posterior(h), h), torch.zeros(5, dtype=torch.float64))


def test_log_variances_stay_where_they_can_be_computed():
    h = torch.tensor([[0.0, 0.0, 1e6, -1e6]], dtype=torch.float32)
    posterior: Any = KLBottleneck().posterior(h)
    torch.testing.assert_close(posterior.var, torch.tensor([[math.exp(20), math.exp(-30)]], dtype=torch.float32))


def reference(z: Tensor, codes: Tensor) -> Tensor:
    """The nearest code at each place of (batch, channels, length), by loops."""
    found = torch.empty_like(z)
    for i in range(z.shape[0]):
        for place in range(z.shape[2]):
            far = [float((z[i, :, place] - code).square().sum()) for code in codes]
            found[i, :, place] = codes[far.index(min(far))]
    return found


@pytest.mark.parametrize("learn", ["ema", "gradient"])
def test_the_quantiser_and_its_gradients_are_those_of_a_written_out_one(learn: Any):
    vq = VQBottleneck(3, 7, learn=learn, commitment=0.4).eval()
    z = Random(1).normal((2, 3, 5)).requires_grad_()
    weight = Random(2).normal((2, 3, 5))
    nearest = reference(z.detach(), vq.codebook.detach())
    q = vq(z)
    torch.testing.assert_close(q.detach(), nearest)
    (weight * q.sin()).sum().backward()
    torch.testing.assert_close(z.grad, weight * nearest.cos())  # d q / d z = 1
    assert vq.codebook.grad is None
    z.grad = None
    cost = vq.penalty(vq.posterior(z), z)
    error = (z.detach() - nearest).square().sum((1, 2))
    torch.testing.assert_close(cost.detach(), error * (1.4 if learn == "gradient" else 0.4))
    cost.sum().backward()
    torch.testing.assert_close(z.grad, 0.8 * (z.detach() - nearest))
    if learn == "gradient":
        wanted = torch.zeros_like(vq.codebook)
        wanted.index_add_(0, vq.tokens(z).flatten(), (2 * (nearest - z.detach())).transpose(1, 2).flatten(0, 1))
        torch.testing.assert_close(vq.codebook.grad, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_codes_are_the_moving_means_of_their_latents(dtype: torch.dtype):
    """Against the two averages written out, over three steps, the second of which comes in two parts."""
    vq = VQBottleneck(2, 3, decay=0.9, dead_below=0.0).to(dtype)
    vq.codebook.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]))
    n, m = torch.ones(3, dtype=dtype), vq.codebook.clone()
    vq.count.copy_(n)
    vq.total.copy_(m)
    for step in range(3):
        z = Random(step).normal((40, 2), dtype) * 2 + 1
        tokens = vq.tokens(z)
        for part in z.split(20 if step == 1 else 40):
            vq.penalty(vq.posterior(part), part)
        vq.after(step + 1)
        for k in range(3):
            n[k] = 0.9 * n[k] + 0.1 * (tokens == k).sum()
            m[k] = 0.9 * m[k] + 0.1 * z[tokens == k].sum(0)
        torch.testing.assert_close(vq.codebook, m / n[:, None])
    assert int(vq.revived) == 0


def test_nothing_is_noted_where_nothing_is_trained():
    vq = VQBottleneck(2, 3)
    z = Random(0).normal((8, 2))
    with torch.no_grad():
        vq.penalty(vq.posterior(z), z)
    vq.eval().penalty(vq.posterior(z), z)
    assert not vq.seen.any()


@pytest.mark.parametrize("learn", ["ema", "gradient"])
def test_dead_codes_are_moved_onto_latents_and_counted(learn: Any):
    """All are dead before the first step; later one that no latent is near to."""
    torch.manual_seed(0)
    vq = VQBottleneck(2, 8, learn=learn, decay=0.5)
    z = Random(0).normal((64, 2))
    vq.penalty(vq.posterior(z), z)
    vq.after(1)
    codes = vq.codebook.detach()
    assert (codes[:, None] == z).all(2).any(1).all()
    first = int(vq.revived)
    assert first == 8
    with torch.no_grad():
        vq.codebook[3] = 100.0
        vq.count[3], vq.total[3] = 0.15, 15.0
    vq.penalty(vq.posterior(z), z)
    vq.after(2)
    assert vq.codebook.detach().abs().max() < 10
    assert int(vq.revived) > first
    signs = vq.signs()
    assert signs["codes_revived"] == int(vq.revived)
    assert 1 < signs["codes_used"] <= 8


def test_tokens_are_the_names_of_codes_and_decode_to_what_they_stand_for():
    vq = VQBottleneck(3, 5).eval()
    tokens = torch.tensor([[0, 4, 2], [1, 1, 3]])
    assert torch.equal(vq.tokens(vq.embed(tokens)), tokens)
    assert torch.equal(vq(vq.embed(tokens)), vq.embed(tokens))
    assert vq.vocabulary == 5
    with pytest.raises(Refused, match=r"KLBottleneck has no codebook.*bottleneck.name = 'vq'"):
        KLBottleneck().tokens(torch.zeros(1, 2))
    with pytest.raises(Refused, match="no latents belong to tokens"):
        KLBottleneck().embed(tokens)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 1}, "2 codes or more of 1 channel or more, not 1 of 4"),
        ({"learn": "hope"}, "by 'ema' or by 'gradient', not 'hope'"),
        ({"decay": 1.0}, "needs 0 <= decay < 1"),
    ],
)
def test_codebooks_that_cannot_be_are_refused(fields: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        VQBottleneck(**fields)


def test_diffusion_sees_latents_that_are_not_quantised_and_the_decoder_those_that_are():
    torch.manual_seed(0)
    autoencoder = Autoencoder(MLPAutoencoder(shape=(2,), width=8), VQBottleneck(2, 4)).eval()
    x = Random(0).normal((6, 2))
    z = autoencoder.latents(autoencoder.posterior(x))
    assert torch.equal(z, autoencoder.network.encode(x))
    assert torch.equal(autoencoder.decode(z), autoencoder.network.decode(autoencoder.bottleneck(z)))
