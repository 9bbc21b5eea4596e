"""Exact denoisers against formulas of their own: conditioning of joint normals, numerical integration, enumeration."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.core.oracles import DatasetOracle, GaussianOracle, MixtureOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.schedules import VP, ContinuousCosine, EDMSchedule, FlowSchedule, LogLinear, TableSchedule

SCHEDULES = [VP(), EDMSchedule(sigma_max=5), FlowSchedule(), ContinuousCosine()]
TIMES = [0.01, 0.4, 1.0]
MEAN = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
FACTOR = torch.tensor([[1.0, 0, 0], [0.6, 0.5, 0], [-0.3, 0.2, 0.4]], dtype=torch.float64)
COV = FACTOR @ FACTOR.T


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_gaussian_with_full_covariance_is_a_conditioned_joint_normal(schedule: Any):
    """Cov(x_0, x_t) = alpha cov, Cov(x_t) = alpha^2 cov + sigma^2: Schur's complement, solved directly."""
    oracle = GaussianOracle(Gaussian(schedule), MEAN, COV)
    x_t = Random(0).normal((5, 3), dtype=torch.float64)
    for t in TIMES:
        alpha, sigma = (float(c) for c in schedule.at(t, x_t))
        gain = alpha * COV @ torch.linalg.inv(alpha**2 * COV + sigma**2 * torch.eye(3, dtype=torch.float64))
        guess = oracle(x_t, t)
        torch.testing.assert_close(guess.mean, MEAN + (x_t - alpha * MEAN) @ gain.T, rtol=1e-9, atol=1e-9)
        wanted = (COV - alpha * gain @ COV).diagonal().expand(5, 3)
        torch.testing.assert_close(torch.as_tensor(guess.var).expand(5, 3), wanted, rtol=1e-7, atol=1e-9)


def test_variances_and_numbers_are_special_cases_of_a_covariance():
    process, x = Gaussian(VP()), Random(0).normal((4, 3), dtype=torch.float64)
    variances = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    pairs = [
        (GaussianOracle(process, MEAN, variances), GaussianOracle(process, MEAN, variances.diag())),
        (GaussianOracle(process, 0.5, 2.0), GaussianOracle(process, torch.full((3,), 0.5), 2 * torch.eye(3))),
        (
            GaussianOracle(process, MEAN, COV),
            MixtureOracle(process, [2.0], MEAN[None], COV[None]),
        ),
    ]
    for one, other in pairs:
        for t in (torch.tensor([0.1, 0.4, 0.9, 1.0]), 0.3):
            a, b = one(x, t), other(x, t)
            torch.testing.assert_close(a.mean, b.mean)
            torch.testing.assert_close(torch.as_tensor(a.var).expand(4, 3), torch.as_tensor(b.var).expand(4, 3))


def test_a_number_serves_images_of_any_shape():
    guess = GaussianOracle(Gaussian(VP()), 0.0, 1.0)(torch.ones(2, 3, 4, 4), torch.tensor([0.2, 0.7]))
    alpha, _ = VP().at(torch.tensor([0.2, 0.7]), torch.ones(2))
    torch.testing.assert_close(
        guess.mean[:, 0, 0, 0].double(), alpha, rtol=1e-6, atol=0
    )  # alpha / (alpha^2 + sigma^2) = alpha
    assert guess.mean.dtype == torch.float32


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_mixture_in_one_dimension_is_the_integral(schedule: Any):
    """E and Var of x_0 given x_t by a fine sum over x_0."""
    weights, means, stds = np.array([0.3, 0.7]), np.array([-0.6, 0.5]), np.array([0.15, 0.3])
    oracle = MixtureOracle(
        Gaussian(schedule), torch.tensor(weights), torch.tensor(means)[:, None], torch.tensor(stds**2)
    )
    grid = np.linspace(-4, 4, 40001)
    density = sum(w * np.exp(-((grid - m) ** 2) / (2 * s**2)) / s for w, m, s in zip(weights, means, stds, strict=True))
    x_t = torch.tensor([[-1.0], [0.1], [0.7]], dtype=torch.float64)
    for t in (0.05, 0.4, 1.0):
        alpha, sigma = (float(c) for c in schedule.at(t, x_t))
        log_posterior = np.log(density) - (x_t.numpy() - alpha * grid) ** 2 / (2 * sigma**2)
        posterior = np.exp(log_posterior - log_posterior.max(1, keepdims=True))
        posterior /= posterior.sum(1, keepdims=True)
        mean = posterior @ grid
        guess = oracle(x_t, t)
        np.testing.assert_allclose(guess.mean[:, 0].numpy(), mean, atol=1e-8)
        np.testing.assert_allclose(torch.as_tensor(guess.var)[:, 0].numpy(), posterior @ grid**2 - mean**2, atol=1e-7)


def test_mixture_with_full_covariances_is_bayes_over_gaussian_oracles():
    process = Gaussian(VP())
    covs, means = torch.stack([COV, 0.3 * torch.eye(3, dtype=torch.float64)]), torch.stack([MEAN, -MEAN])
    oracle = MixtureOracle(process, [0.25, 0.75], means, covs)
    x, t = Random(0).normal((6, 3), dtype=torch.float64), torch.linspace(0.1, 1, 6, dtype=torch.float64)
    guess = oracle(x, t)
    for i in range(6):
        alpha, sigma = (float(c) for c in process.schedule.at(t[i], x))
        laws = [
            torch.distributions.MultivariateNormal(alpha * m, alpha**2 * c + sigma**2 * torch.eye(3))
            for m, c in zip(means, covs, strict=True)
        ]
        share = torch.stack([w * law.log_prob(x[i]).exp() for w, law in zip((0.25, 0.75), laws, strict=True)])
        share = share / share.sum()
        parts = [GaussianOracle(process, m, c)(x[i : i + 1], t[i]) for m, c in zip(means, covs, strict=True)]
        mean = sum(s * p.mean[0] for s, p in zip(share, parts, strict=True))
        second = sum(
            s * (torch.as_tensor(p.var).expand(1, 3)[0] + p.mean[0] ** 2) for s, p in zip(share, parts, strict=True)
        )
        torch.testing.assert_close(guess.mean[i], mean)
        torch.testing.assert_close(torch.as_tensor(guess.var)[i], second - mean**2)


def test_a_data_sets_posterior_is_the_softmax_of_distances():
    points = Random(0).normal((7, 2, 3), dtype=torch.float64)
    for schedule in SCHEDULES:
        oracle = DatasetOracle(Gaussian(schedule), points)
        x, t = (
            Random(1).normal((4, 2, 3), dtype=torch.float64),
            torch.tensor([0.05, 0.3, 0.6, 1.0], dtype=torch.float64),
        )
        guess = oracle(x, t)
        for i in range(4):
            alpha, sigma = (float(c) for c in schedule.at(t[i], x))
            logits = [-float(((x[i] - alpha * p) ** 2).sum()) / (2 * sigma**2) for p in points]
            share = np.exp(np.array(logits) - max(logits))
            share /= share.sum()
            mean = sum(float(s) * p for s, p in zip(share, points, strict=True))
            second = sum(float(s) * p**2 for s, p in zip(share, points, strict=True))
            torch.testing.assert_close(guess.mean[i], mean, rtol=1e-7, atol=1e-9)
            torch.testing.assert_close(torch.as_tensor(guess.var)[i], second - mean**2, rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(oracle(x, t[i]).mean[i], guess.mean[i])


def test_clean_data_is_recognised():
    points = Random(0).normal((7, 2), dtype=torch.float64)
    guess = DatasetOracle(Gaussian(VP()), points)(points, 0.0)
    torch.testing.assert_close(guess.mean, points)
    for oracle in (
        GaussianOracle(Gaussian(VP()), 0.0, 1.0),
        MixtureOracle(Gaussian(VP()), [1.0, 1.0], points[:2], torch.ones(2)),
    ):
        torch.testing.assert_close(oracle(points, 0.0).mean, points)


@pytest.mark.parametrize("noise", [uniform(3), mask(3), (0.2, 0.3, 0.5)], ids=["uniform", "mask", "arbitrary"])
def test_a_token_tables_posterior_by_enumeration(noise: tuple[float, ...]):
    sequences, probs = [(0, 0, 1), (1, 1, 1), (0, 1, 0)], [0.5, 0.3, 0.2]
    process = Categorical(LogLinear(), noise)
    oracle = TokenOracle(process, torch.tensor(sequences), probs)
    for t in (0.1, 0.6, 1.0):
        alpha = float(process.schedule.alpha(torch.tensor(t, dtype=torch.float64)))
        for x_t in product(range(3), repeat=3):
            weights = [
                p * math.prod(alpha * (a == b) + (1 - alpha) * noise[a] for a, b in zip(x_t, x_0, strict=True))
                for p, x_0 in zip(probs, sequences, strict=True)
            ]
            if sum(weights) == 0:
                continue
            wanted = torch.zeros(3, 3, dtype=torch.float64)
            for w, x_0 in zip(weights, sequences, strict=True):
                for place, token in enumerate(x_0):
                    wanted[place, token] += w / sum(weights)
            torch.testing.assert_close(oracle(torch.tensor([x_t]), t).mean[0], wanted, rtol=0, atol=1e-12)


def test_an_impossible_sequence_is_judged_by_its_possible_tokens():
    """(1, 0) is not in the table and nothing is masked: both sequences miss one token, so their priors decide."""
    oracle = TokenOracle(Categorical(LogLinear(), mask(3)), torch.tensor([[0, 0], [1, 1], [2, 2]]), [0.6, 0.2, 0.0])
    wanted = torch.tensor([[0.75, 0.25, 0.0]] * 2, dtype=torch.float64)
    torch.testing.assert_close(oracle(torch.tensor([[1, 0]]), 0.5).mean[0], wanted, rtol=0, atol=1e-12)


def test_three_tokens_with_uniform_noise():
    """X17: p_0 = (.6, .3, .1), abar_s = .7, alpha_t = .8 (arXiv:2102.05379; the numbers by enumeration)."""
    process = Categorical(TableSchedule(alpha_bars=(0.7**2, (0.7 * 0.8) ** 2, 0.01)), uniform(3))
    s, t = 1 / 3, 2 / 3
    oracle = TokenOracle(process, torch.arange(3)[:, None], [0.6, 0.3, 0.1])
    zero = torch.tensor([[0]])

    def probs(belief: Any) -> Tensor:
        return belief.mean[0, 0]

    def near(got: Tensor, wanted: tuple[float, ...]) -> None:
        torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-6)

    at_t = torch.stack([probs(process.marginal(torch.tensor([[k]]), t)) for k in range(3)])
    near(at_t[0], (0.7066667, 0.1466667, 0.1466667))
    near(probs(process.bridge(zero, process.point(torch.tensor([[1]])), s, t)), (0.590909, 0.363636, 0.045455))
    guess = oracle(zero, t)
    near(probs(guess), (0.878453, 0.091160, 0.030387))
    exact = probs(process.bridge(zero, guess, s, t))
    near(exact, (0.933702, 0.042818, 0.023481))
    # plugging the posterior into the product form, as the paper does, is another law
    plugged = at_t.new_tensor([1.0, 0.0, 0.0]) * 0.8 + 0.2 / 3
    plugged = plugged * (0.7 * probs(guess) + 0.3 / 3)
    plugged = plugged / plugged.sum()
    near(plugged, (0.970239, 0.017101, 0.012660))
    assert float((exact * (exact / plugged).log()).sum()) == pytest.approx(0.017962, abs=1e-6)


def test_draws_have_the_law_of_the_data():
    process, n = Gaussian(VP()), 20000
    x = GaussianOracle(process, MEAN, COV).draw(n, Random(0))
    torch.testing.assert_close(x.mean(0), MEAN, rtol=0, atol=0.03)
    torch.testing.assert_close(torch.cov(x.T), COV, rtol=0, atol=0.05)
    covs = torch.stack([COV, 0.1 * torch.eye(3, dtype=torch.float64)])
    y = MixtureOracle(process, [1.0, 3.0], torch.stack([MEAN, -MEAN]), covs).draw(n, Random(0))
    torch.testing.assert_close(y.mean(0), -MEAN / 2, rtol=0, atol=0.03)
    between = 0.1875 * torch.outer(2 * MEAN, 2 * MEAN)
    torch.testing.assert_close(torch.cov(y.T), 0.25 * covs[0] + 0.75 * covs[1] + between, rtol=0, atol=0.05)
    z = TokenOracle(Categorical(LogLinear(), mask(3)), torch.tensor([[0, 1], [1, 1]]), [0.2, 0.8]).draw(n, Random(0))
    assert float(z[:, 0].double().mean()) == pytest.approx(0.8, abs=0.015)
    assert GaussianOracle(process, 0.0, 1.0).draw(3, Random(0)).shape == (3, 1)
