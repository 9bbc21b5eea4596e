"""What is measured of autoencoders, against closed forms: rates, curves, principal components, levels, changes."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.registry import build
from undiffuse.evaluation import principal_components
from undiffuse.evaluation.equivariance import equivariance
from undiffuse.evaluation.latents import codebook_use, statistics
from undiffuse.evaluation.rate_distortion import rate_distortion
from undiffuse.likelihood import Decoder

RANDOM = np.random.default_rng(0)
STANDARD = Normal(torch.zeros((), dtype=torch.float64), 1.0)


def test_the_moments_are_those_of_drawn_latents_and_a_silent_unit_is_not_active():
    mean = torch.from_numpy(RANDOM.normal(1, 2, (5000, 2, 3)))
    mean[:, 1] = 0.0
    found = statistics(Normal(mean, torch.full_like(mean, 0.25)), STANDARD)
    assert found.mean == pytest.approx([1, 0], abs=0.1)
    assert found.std == pytest.approx([math.sqrt(4.25), 0.5], rel=0.05)
    assert (found.active, found.units, found.shape) == (3, 6, (2, 3))
    each = 0.5 * (0.25 - 1 - math.log(0.25)) / math.log(2)
    assert found.rate is not None
    assert found.rate[1] == pytest.approx(3 * each)
    assert found.bits == pytest.approx(sum(found.rate))
    assert statistics(Normal(mean, 0.0), None).bits is None


def test_the_perplexity_of_a_codebook_counts_equal_entries():
    found = codebook_use(torch.tensor([[0, 2], [2, 0], [0, 2]]), 5)
    assert (found.used, found.dead, found.tokens) == (2, 3, 2)
    assert found.perplexity == pytest.approx(2)
    assert found.bits == pytest.approx(2)
    assert codebook_use(torch.zeros(3, 1, dtype=torch.int64), 4).content()["perplexity"] == 1


def test_the_curve_of_the_exact_posterior_is_the_best_law_at_its_distortion():
    """x = z + e, e ~ N(0, 1/2): p(z) p(x | z)^b is N(2 b x / (1 + 2 b), 1 / (1 + 2 b)), whatever b."""
    x = RANDOM.normal(0, 1.5**0.5, (4000, 1)).astype(np.float32)
    posterior = Normal(torch.from_numpy(x) * 2 / 3, torch.full((4000, 1), 1 / 3))
    shares = [0.0, 0.1, 0.5, 1.0]
    found = rate_distortion(x, posterior, STANDARD, lambda z: z, 1.0, shares=shares)
    for share, bits, quality in zip(shares, found.bits, found.psnr, strict=True):
        var, mean = 1 / (1 + 2 * share), 2 * share / (1 + 2 * share) * x.astype(np.float64)
        assert bits == pytest.approx(float(0.5 * (mean**2 + var - 1 - np.log(var)).mean()) / math.log(2), abs=1e-4)
        noise = np.random.default_rng(1).normal(0, var**0.5, (4000, 1))
        assert quality == pytest.approx(float(-10 * np.log10((x - mean - noise) ** 2).mean()), abs=0.6)
    assert found.bits[0] == 0
    assert found.content()[3] == {"share": 1.0, "bits": found.bits[3], "psnr": found.psnr[3]}


def test_principal_components_are_the_best_of_their_rank():
    x = (RANDOM.normal(size=(60, 5)) @ RANDOM.normal(size=(5, 12))).reshape(60, 1, 3, 4)
    flat = x.reshape(60, -1)
    values = np.linalg.svd(flat - flat.mean(0), compute_uv=False)
    for few in (x, x[:8]):  # more and fewer items than numbers
        made = principal_components.fit(few, (2,))(few)
        rest = np.linalg.svd(few.reshape(len(few), -1) - few.reshape(len(few), -1).mean(0), compute_uv=False)[2:]
        assert ((few - made) ** 2).sum() == pytest.approx((rest**2).sum())
    assert values[5] < 1e-9


def test_latents_with_sides_are_held_against_components_of_patches():
    x = RANDOM.integers(0, 256, (30, 3, 8, 8)).astype(np.uint8)
    whole = principal_components.fit(x, (12, 4, 4))
    assert whole.components.shape == (12, 12)
    np.testing.assert_array_equal(whole(x), x)
    assert principal_components.fit(x, (4, 4, 4))(x).dtype == np.uint8
    assert principal_components.fit(x, (4, 3, 3)).side == 0, "sides that do not fit are those of no patch"


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_the_levels_of_a_loss_sum_to_one_and_are_its_density_where_it_is_wide(name: str):
    loss, levels = build("losses", {"name": name}), Decoder(levels=16)
    x = torch.linspace(-1, 1, 16, dtype=torch.float64)[:, None]
    for scale, middle in ((-9.0, 0.31), (-2.0, 1.7), (0.5, -0.2), (3.0, 0.0)):
        found = loss.log_levels(x, torch.full_like(x, middle), torch.tensor(scale), levels)
        assert float(found.exp().sum()) == pytest.approx(1, abs=1e-12)
    fine = Decoder(levels=2001)
    at, scale = torch.tensor([[0.3]], dtype=torch.float64), torch.tensor(-0.7)
    power = 1 if name == "l1" else 2
    density = -(abs(0.3 - 0.1) ** power) / math.exp(-0.7) - float(loss.log_partition(scale))
    found = loss.log_levels(at, torch.full_like(at, 0.1), scale, fine) - math.log(fine.width)
    assert float(found) == pytest.approx(density, abs=1e-5)


def test_a_decoder_that_moves_with_its_latents_has_no_further_error():
    x = RANDOM.random((3, 1, 16, 16))
    z = avg_pool2d(torch.from_numpy(x), 2)
    found = equivariance(x, z, lambda z: interpolate(z, scale_factor=2.0))
    assert found["flip"] == pytest.approx(1)
    assert found["turn"] == pytest.approx(1)
    assert found["half"] < 1, "the half has half the detail"
    ramp = torch.linspace(0, 1, 16, dtype=torch.float64)
    fixed = equivariance(x, z, lambda z: interpolate(z, scale_factor=2.0) + ramp[: 2 * z.shape[-1]])
    assert fixed["flip"] == pytest.approx(1, abs=0.1)
    assert set(equivariance(x[..., :12], z[..., :6], lambda z: interpolate(z, scale_factor=2.0))) == {"flip"}

    def stays(z: Tensor) -> Any:
        return torch.from_numpy(x) + 0.1 if z.shape[-1] == 8 else interpolate(z, scale_factor=2.0)

    assert equivariance(x, z, stays)["flip"] > 3, "one that gives the same image whatever the latents"


def test_a_loss_that_is_no_density_has_no_levels():
    from undiffuse.core.reconstruction_loss import ReconstructionLoss

    x = torch.zeros(1, 1, dtype=torch.float64)
    with pytest.raises(Refused, match="is no density of x given z: l1 and l2 are"):
        ReconstructionLoss.log_levels(build("losses", {"name": "l1"}), x, x, torch.tensor(0.0), Decoder())


def test_a_change_of_size_that_the_decoder_refuses_is_left_out():
    x = RANDOM.random((2, 1, 16, 16))
    z = avg_pool2d(torch.from_numpy(x), 2)

    def of_one_size(z: Tensor) -> Tensor:
        if z.shape[-1] != 8:
            raise Refused("8 x 8 alone")
        return interpolate(z, scale_factor=2.0)

    assert set(equivariance(x, z, of_one_size)) == {"flip", "turn"}
