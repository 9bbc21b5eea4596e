"""A classifier that was trained on noisy samples: against the closed form of two Gaussians, and as guidance."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse import parameterizations
from undiffuse.core.noisy_classifier import NoisyClassifier
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.guidance import ClassifierGuidance, MeanShift
from undiffuse.networks.mlp_classifier import MLPClassifier
from undiffuse.objectives.label_cross_entropy import LabelCrossEntropy
from undiffuse.samplers import Ancestral
from undiffuse.schedules import VP, EDMSchedule
from undiffuse.time_distributions.log_normal import LogNormal
from undiffuse.time_distributions.stratified import Stratified

PROCESS = Gaussian(EDMSchedule(sigma_max=10.0))
MEANS, STD = torch.tensor([[-1.0, 0.5], [1.0, 0.0]], dtype=torch.float64), 0.4


def data(count: int, random: Random) -> tuple[Tensor, Tensor]:
    """Points of two equally frequent normal clouds, and of which they are."""
    label = random.fold(0).integers(2, (count,))
    noise = random.fold(1).normal((count, 2), dtype=torch.float64)
    return MEANS[label] + STD * noise, label


class Exact(nn.Module):
    """log p(label given x_t) of those clouds, as a classifier whose logits are `power` times it."""

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.process, self.power = PROCESS, power

    def log_probs(self, x_t: Tensor, t: Any) -> Tensor:
        alpha, sigma = self.process.schedule.at(t, x_t)
        distance = (x_t[:, None].double() - (alpha[..., None] if alpha.ndim else alpha) * MEANS).square().sum(-1)
        return (-self.power * distance / (2 * (alpha**2 * STD**2 + sigma**2))).log_softmax(1)

    def forward(self, x_t: Tensor, t: Any, label: Tensor) -> Tensor:
        return self.log_probs(x_t, t).gather(1, label[:, None])[:, 0]


@pytest.fixture(scope="module")
def trained() -> NoisyClassifier:
    """A small network after 400 steps on the objective."""
    torch.manual_seed(0)
    made = NoisyClassifier(
        MLPClassifier(2, (2,), width=32, depth=2, time_scale=0.4, waves=2),
        PROCESS,
        parameterizations.EDMParameterization(data_std=1.0),
    )
    objective: Any = LabelCrossEntropy(LogNormal(-0.5, 1.2))
    optimiser = torch.optim.Adam(made.parameters(), lr=5e-3, fused=True)
    for step in range(400):
        x_0, label = data(256, Random(1).fold(step))
        optimiser.zero_grad()
        objective.loss(made, Batch(x_0, {"label": label}), Random(2).fold(step)).mean().backward()
        optimiser.step()
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.5, 5.0])
def test_a_trained_classifier_comes_near_the_closed_form(trained: NoisyClassifier, sigma: float):
    t = sigma / 10
    x_t = PROCESS.marginal(data(2000, Random(5))[0], t).sample(Random(6))
    error = (trained.log_probs(x_t, t).exp() - Exact().log_probs(x_t, t).exp()).abs().mean()
    assert error < 0.03  # 0.5 for a guess among two, far from the border


def test_the_exact_classifier_has_the_least_loss_and_a_fresh_network_that_of_a_guess():
    objective: Any = LabelCrossEntropy(Stratified())
    x_0, label = data(4000, Random(3))
    exact, hot, cold = (
        float(objective.loss(Exact(power), Batch(x_0, {"label": label}), Random(4)).mean()) for power in (1.0, 0.6, 1.6)
    )
    assert exact < min(hot, cold) - 0.001
    fresh = NoisyClassifier(MLPClassifier(2, (2,)), PROCESS, "edm")
    torch.testing.assert_close(
        objective.loss(fresh, Batch(x_0, {"label": label}), Random(4)), torch.full((4000,), 0.6931471806).double()
    )
    measured = objective.beside["accuracy"].loss(Exact(), Batch(x_0, {"label": label}), Random(4))
    right = [
        float(objective.beside["accuracy"].loss(Exact(p), Batch(x_0, {"label": label}), Random(4)).mean())
        for p in (0.6, -1)
    ]
    assert float(measured.mean()) == pytest.approx(right[0])  # the likeliest class is the same
    assert float(measured.mean()) == pytest.approx(1 - right[1])


def test_the_network_sees_what_a_denoiser_s_network_sees_and_the_softmax_is_normal():
    seen: list[tuple[Tensor, Tensor]] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))

        def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
            seen.append((x, c_time))
            return self.weight * x.sum(1, keepdim=True)

    t, x_t = torch.tensor([0.2, 0.7], dtype=torch.float64), Random(0).normal((2, 4), dtype=torch.float64)
    for form, process in (
        (parameterizations.EDMParameterization(0.7), Gaussian(EDMSchedule())),
        (parameterizations.Noise(), Gaussian(VP())),
    ):
        log_probs = NoisyClassifier(Spy(), process, form).log_probs(x_t, t)
        x, c_time = seen.pop()
        _, _, c_in = form.coefficients(*process.schedule.at(t, x_t))
        assert torch.equal(x, (c_in * x_t).bfloat16())
        assert torch.equal(c_time, form.time(process.schedule, t).float())
        assert log_probs.dtype == torch.float64
        torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(2, dtype=torch.float64))


def test_guidance_by_a_trained_classifier_draws_its_class(trained: NoisyClassifier):
    """Both forms: the class's mean and spread, up to what the small network misses."""
    mixture = MixtureOracle(PROCESS, [0.5, 0.5], MEANS, torch.tensor([STD**2, STD**2]))
    label = torch.ones(2000, dtype=torch.long)
    guided = sample(ClassifierGuidance(mixture, trained), (2000, 2), sampler=Ancestral(), steps=40, label=label)
    shifted = sample(mixture, (2000, 2), sampler=MeanShift(Ancestral(), trained), steps=200, label=label)
    for x in (guided, shifted):
        torch.testing.assert_close(x.double().mean(0), MEANS[1], atol=0.08, rtol=0)
        torch.testing.assert_close(x.double().std(0), torch.full((2,), STD).double(), atol=0.08, rtol=0)
    plain: Any = GaussianOracle(PROCESS, MEANS[1], torch.full((2,), STD**2))(guided[:5], 0.1)
    near: Any = ClassifierGuidance(mixture, trained)(guided[:5], 0.1, label=label[:5])
    torch.testing.assert_close(near.mean, plain.mean, atol=0.15, rtol=0)
