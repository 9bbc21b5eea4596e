"""Linear autoencoders of Gaussian data: DDPM in latents and the bound through a decoder, against their closed forms."""

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from latent_spaces import Linear
from torch import Tensor

from undiffuse.codecs.latent import Latent
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.evaluation.latent_bound import latent_bound
from undiffuse.samplers.ancestral import Ancestral
from undiffuse.schedules.linear_beta import LinearBeta

STEPS = 50
BETAS = np.linspace(1e-3, 0.2, STEPS)


def gaussian(d: int, count: int) -> np.ndarray:
    """Points of mean 0 whose deviations fall from 2."""
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(d, d)))[0]
    found = np.random.default_rng(0).normal(size=(count, d)) * 2.0 ** -np.arange(d) * 2 @ turn
    return (found - found.mean(0)).astype(np.float32)


def ddpm_variance(variance: np.ndarray) -> np.ndarray:
    """The variances of DDPM's samples of N(0, variance), as its paper writes the reverse step, by its exact guess."""
    bars = np.cumprod(1 - BETAS)
    found = np.ones_like(variance)  # x_T ~ N(0, 1)
    for t in reversed(range(STEPS)):
        bar, before, beta = bars[t], bars[t - 1] if t else 1.0, BETAS[t]
        guess = math.sqrt(bar) * variance / (bar * variance + 1 - bar)
        mean = math.sqrt(before) * beta / (1 - bar) * guess + math.sqrt(1 - beta) * (1 - before) / (1 - bar)
        found = mean**2 * found + (1 - before) / (1 - bar) * beta
    return found


def sampled_covariance(denoiser: Any, d: int, times: Tensor) -> Tensor:
    """The covariance of what `ancestral` makes of noise: each step is a linear map and noise of a known variance."""
    found, eye = torch.eye(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64)
    for t, s in pairwise(times):
        step: Any = Ancestral().step(denoiser, eye, t, s, random=Random(0))[0]
        var = torch.as_tensor(step.var, dtype=torch.float64).expand(d, d)[0]
        found = step.mean.T @ found @ step.mean + torch.diag(var)
    return found


@pytest.mark.parametrize("scale", ["unit", "channel", "scalar"])
def test_latent_diffusion_is_ddpm_on_the_projected_covariance(scale: Any):
    x = gaussian(4, 300)
    covariance = np.cov(x.astype(np.float64).T, bias=True)
    values, axes = np.linalg.eigh(covariance)
    values, axes = values[::-1][:2].copy(), torch.as_tensor(axes[:, ::-1][:, :2].copy())
    known: dict[str, Any] = {"mean": (0.0,), "std": (1.0,), "scale": "scalar"} if scale == "unit" else {"scale": scale}
    codec = Latent(Linear(axes.T, axes), **known).fit(x)
    scales = np.array(codec.std) * np.ones(2)
    schedule = LinearBeta(steps=STEPS, beta_start=BETAS[0], beta_end=BETAS[-1])
    denoiser = GaussianOracle(Gaussian(schedule), cov=torch.as_tensor(values / scales**2))
    times = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
    latents = sampled_covariance(denoiser, 2, times)
    decoder = codec.decode(torch.eye(2)).double() - codec.decode(torch.zeros(2, 2)).double()  # its linear part
    found = decoder.T @ latents @ decoder
    expected = axes.numpy() @ np.diag(scales**2 * ddpm_variance(values / scales**2)) @ axes.numpy().T
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)
    if scale == "unit":  # DDPM of the points themselves, projected: its noise outside of the plane is no matter
        projected = axes @ torch.diag(torch.as_tensor(values)) @ axes.T
        points = sampled_covariance(GaussianOracle(Gaussian(schedule), cov=projected), 4, times)
        plane = axes @ axes.T
        np.testing.assert_allclose(found.numpy(), (plane @ points @ plane).numpy(), atol=2e-6)


class World:
    """x = decoder z + noise of variance `left`, z ~ N(0, 1), with its exact posterior; the columns are orthogonal."""

    def __init__(self) -> None:
        turn = torch.as_tensor(np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0])
        self.decoder, self.left = turn[:, :2] * torch.tensor([1.5, 0.5], dtype=torch.float64), 0.3
        precision = 1 + self.decoder.square().sum(0) / self.left
        encoder = (self.decoder / self.left / precision).T
        self.space = Linear(encoder, self.decoder, 1 / precision, self.left)
        cov = self.decoder @ self.decoder.T + self.left * torch.eye(3, dtype=torch.float64)
        self.law = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=torch.float64), cov)
        self.x = self.law.sample((200,)).numpy().astype(np.float32)


@pytest.mark.parametrize("scale", ["channel", "scalar"])
def test_what_is_explained_and_the_latents_law_are_the_datas_law(scale: Any):
    world = World()
    codec = Latent(world.space, scale=scale).fit(world.x)
    mean, std = (torch.tensor(each, dtype=torch.float64) for each in (codec.mean, codec.std))
    z, nats = codec.explained(world.x, Random(3))
    law = Normal(-mean / std * torch.ones_like(z), (1 / std**2).expand_as(z))  # of (latent - mean) / std
    torch.testing.assert_close(nats + law.log_prob(z.double()), world.law.log_prob(torch.as_tensor(world.x).double()))


def test_the_bound_of_a_latent_model_is_the_datas_density_where_all_is_exact():
    world = World()
    codec = Latent(world.space).fit(world.x)
    mean, std = (torch.tensor(each, dtype=torch.float64) for each in (codec.mean, codec.std))
    schedule = LinearBeta(steps=STEPS, beta_start=BETAS[0], beta_end=BETAS[-1])
    denoiser = GaussianOracle(Gaussian(schedule), -mean / std, 1 / std**2)
    denoiser.bound_variance = "exact"
    model: Any = SimpleNamespace(
        codec=codec, denoiser=denoiser, variance={}, shape=(2,), data_shape=(3,), device=torch.device("cpu")
    )
    found = latent_bound(model, world.x, {}, "", subset=STEPS - 1, draws=4)  # every step once
    exact = world.law.log_prob(torch.as_tensor(world.x).double()).numpy()
    assert found.log_prob is None
    assert found.bound is not None
    gap = exact - found.bound
    assert -0.1 < gap.mean() < 0.15  # nats, of 3.9; with the posterior variance in place of the exact one 4.6
    assert gap.std() < 1.0
    assert found.summary()["bound"]["bits_per_dim"] == pytest.approx(-found.bound.mean() / 3 / math.log(2))
    assert "through an autoencoder" in found.summary()["convention"]


def test_certain_latents_have_no_density():
    world = World()
    world.space.var = torch.zeros((), dtype=torch.float64)
    codec = Latent(world.space).fit(world.x)
    with pytest.raises(Refused, match=r"lossy codec.*: its latents are certain, and have no density"):
        codec.explained(world.x, Random(0))
