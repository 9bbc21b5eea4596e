"""A small network that learned a mixture: its loss against the floor, its bound against its density and the truth."""

from typing import Any

import pytest
import torch

from undiffuse.core.denoiser import Predictor
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.likelihood import continuous, ode
from undiffuse.networks import MLP
from undiffuse.objectives import Denoising
from undiffuse.schedules import LinearBeta
from undiffuse.time_distributions.stratified import Stratified

PROCESS = Gaussian(LinearBeta())
MIXTURE = MixtureOracle(
    PROCESS, [0.3, 0.7], torch.tensor([[-0.6], [0.5]]).double(), torch.tensor([0.15**2, 0.15**2]).double()
)
LAW = torch.distributions.MixtureSameFamily(
    torch.distributions.Categorical(torch.tensor([0.3, 0.7]).double()),
    torch.distributions.Normal(torch.tensor([-0.6, 0.5]).double(), torch.tensor([0.15, 0.15]).double()),
)


@pytest.fixture(scope="module")
def model() -> Predictor:
    torch.manual_seed(0)
    steps, rows = 700, 256
    model = Predictor(MLP(1, width=48, depth=2, waves=4), PROCESS, "noise")
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2, fused=True)
    fall = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, steps)
    for x_0 in MIXTURE.draw(steps * rows, Random(1)).float().split(rows):
        t = torch.randint(1, 1001, (rows,)) / 1000
        noise = torch.randn(rows, 1)
        alpha, sigma = (c.float() for c in PROCESS.schedule.at(t, x_0))
        x_t = alpha * x_0 + sigma * noise
        loss = (PROCESS.noise(x_t, model(x_t, t), t) - noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        fall.step()
    return model


def paired(difference: torch.Tensor) -> tuple[float, float]:
    return float(difference.mean()), float(difference.std()) / len(difference) ** 0.5


def test_a_trained_networks_loss_ends_close_to_the_floor_and_not_below(model: Predictor):
    """X06: the mean of |noise error|^2 over the steps is .144074 at best."""
    fresh = MIXTURE.draw(40_000, Random(3))
    with torch.no_grad():
        losses = Denoising("noise", times=Stratified()).loss(model, Batch(fresh.float()), Random(4)).double()
        floor = Denoising("noise", times=Stratified()).loss(MIXTURE, Batch(fresh), Random(4))
    mean, error = paired(losses - floor)  # the same noise: what is left is the network's
    assert -3 * error < mean < 0.04 * 0.144074
    mean, error = paired(losses)
    assert 0.144074 - 3 * error < mean < 1.04 * 0.144074 + 3 * error


def test_the_bound_is_below_the_density_and_that_below_the_truth(model: Any):
    """On data of the mixture, E log p is greatest for the mixture, and the bound is below its model's density."""
    data = MIXTURE.draw(1000, Random(5))
    truth = LAW.log_prob(data[:, 0])
    density = ode(model, data, rtol=1e-4, atol=1e-4, batch=1000).log_prob
    bound = -continuous(model, data, points=50, batch=1000).nats
    for lower, higher, most in ((density, truth, 0.3), (bound, density, 0.3)):
        mean, error = paired(higher - lower)
        assert -3 * error < mean < most + 3 * error
        assert error < 0.06
