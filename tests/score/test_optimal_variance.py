"""Analytic-DPM (arXiv:2201.06503): the best variance that one number can be, and the best sub-sequence of times."""

import itertools
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.grids.linspace import Linspace
from undiffuse.guidance import OptimalVariance
from undiffuse.guidance.optimal_steps import lost, optimal_steps
from undiffuse.guidance.optimal_variance import estimated, noise_power, variance
from undiffuse.samplers import DDIM, Ancestral
from undiffuse.schedules import ContinuousCosine, LinearBeta

PROCESS = Gaussian(LinearBeta())
ALL = torch.arange(1, 1001, dtype=torch.float64) / 1000
NORMAL = GaussianOracle(PROCESS, 0.0, 0.25)
MIXTURE = MixtureOracle(
    PROCESS, [0.3, 0.7], torch.tensor([[-0.6], [0.5]]).double(), torch.tensor([0.15**2, 0.15**2]).double()
)


def step_variance(sampler: Any, denoiser: Any, t: int, s: int) -> float:
    """Of a step between two indices of the table; s = -1 is data."""
    times = [torch.tensor((index + 1) / 1000, dtype=torch.float64) for index in (t, s)]
    belief: Any = sampler.step(denoiser, torch.zeros(1, 1, dtype=torch.float64), *times, random=Random(0))[0]
    return float(torch.as_tensor(belief.var).max())


ALPHA, SIGMA = PROCESS.schedule.alpha(ALL), PROCESS.schedule.sigma(ALL)


def exact_gamma(variance_0: float) -> Tensor:
    """sigma^2 E|score|^2 of N(0, variance_0) with noise, at every index."""
    return SIGMA**2 / (ALPHA**2 * variance_0 + SIGMA**2)


def table(variance_0: float) -> OptimalVariance:
    variances = (SIGMA / ALPHA) ** 2 * (1 - exact_gamma(variance_0))
    return OptimalVariance(GaussianOracle(PROCESS, 0.0, variance_0), ALL.tolist(), variances.clamp(min=0).tolist())


def test_the_optimal_variance_of_a_gaussian():
    """X10: Gamma, the noise's error, sigma*^2 at index 499, its closed form and A-DDIM's."""
    gamma = float(exact_gamma(0.25)[499])
    assert variance(NORMAL, 0.5, gamma) == pytest.approx(table(0.25).variances[499], rel=1e-9)
    assert variance(NORMAL, 0.5, 1.01) == 0
    assert gamma == pytest.approx(0.97912267, abs=1e-8)
    assert 1 - gamma == pytest.approx(0.02087733, abs=1e-8)
    best = step_variance(Ancestral("exact"), table(0.25), 499, 498)
    assert best == pytest.approx(0.0100336626, abs=1e-10)
    beta = 1e-4 + (0.02 - 1e-4) * 499 / 999
    kept, abar = float(PROCESS.schedule.alpha(ALL[498]) ** 2), float(PROCESS.schedule.alpha(ALL[499]) ** 2)
    assert best == pytest.approx(beta * (kept / 4 + 1 - kept) / (abar / 4 + 1 - abar), rel=1e-9)
    assert step_variance(DDIM(0.0, "exact"), table(0.25), 499, 498) == pytest.approx(5.7995e-7, rel=1e-4)
    small, large = (step_variance(Ancestral(v), NORMAL, 499, 498) for v in ("posterior", "beta"))
    assert step_variance(Ancestral("exact"), table(1.0), 499, 498) == pytest.approx(large, rel=1e-9)
    assert step_variance(Ancestral("exact"), table(1e-12), 499, 498) == pytest.approx(small, rel=1e-9)
    assert small < best < large


def exact_mixture_variances(oracle: MixtureOracle, times: Tensor, points: int = 6001) -> Tensor:
    """E Var(x_0 given x_t), by integration over a fine grid of x_t."""
    found: list[float] = []
    for t in times:
        alpha, sigma = (float(c) for c in PROCESS.schedule.at(t, torch.empty(())))
        x = torch.linspace(-6, 6, points, dtype=torch.float64)[:, None]
        total = alpha**2 * oracle.variances[:, 0] + sigma**2
        density = (oracle.weights * (-((x - alpha * oracle.means[:, 0]) ** 2) / (2 * total)).exp() / total.sqrt()).sum(
            1
        )
        var = torch.as_tensor(oracle(x, t).var)[:, 0]
        found.append(float((density * var).sum() / density.sum()))
    return torch.tensor(found, dtype=torch.float64)


@pytest.fixture(scope="module")
def variances() -> Tensor:
    return exact_mixture_variances(MIXTURE, ALL, 1501)


def test_the_optimal_variances_of_a_mixture():
    """X10: E Var(x_0 given x_t) at six indices, sigma*^2 of single steps and of strides of ten steps."""
    indices = [0, 9, 99, 299, 499, 999]
    wanted = [9.957e-5, 1.75179e-3, 5.728506e-2, 0.2323845, 0.2701829, 0.2765969]
    found = exact_mixture_variances(MIXTURE, ALL[indices])
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=3e-5, atol=0)
    errors = ((ALPHA / SIGMA)[indices] ** 2 * found).tolist()  # of the best noise guess: X06's floor by index
    assert errors == pytest.approx([0.995596, 0.922775, 0.498979, 0.152626, 0.023044, 1.1e-5], abs=6e-7)
    denoiser = OptimalVariance(MIXTURE, ALL[indices].tolist(), found.tolist())
    for index, best in ((99, 2.055443e-3), (499, 1.003390e-2)):
        assert step_variance(Ancestral("exact"), denoiser, index, index - 1) == pytest.approx(best, rel=1e-6)
    strides = {(1, 112): (0.126308, 1.00e-4, 0.072272), (112, 223): (0.316844, 0.099326, 0.202115)}
    strides[889, 1000] = (0.879788, 0.879528, 0.879600)
    for (s, t), wanted in strides.items():
        told = OptimalVariance(MIXTURE, [t / 1000], exact_mixture_variances(MIXTURE, ALL[[t - 1]]).tolist())
        pairs = ((Ancestral("beta"), MIXTURE), (Ancestral(), MIXTURE), (Ancestral("exact"), told))
        got = [step_variance(sampler, denoiser, t - 1, s - 1) for sampler, denoiser in pairs]
        assert got == pytest.approx(wanted, abs=6e-7)


def test_the_estimate_from_data_is_the_integral():
    """With one noise a datum; Gamma + the noise's own error = 1 for the exact guess."""
    data, times = MIXTURE.draw(40_000, Random(0)), ALL[[99, 299, 499]]
    exact = exact_mixture_variances(MIXTURE, times)
    errors, scores = (list(estimated(MIXTURE, data, times, Random(1), rule, batch=7000)) for rule in ("error", "score"))
    assert errors == pytest.approx(exact.tolist(), rel=0.02)
    assert scores == pytest.approx(exact.tolist(), rel=0.25)
    for t in times:
        gamma = noise_power(MIXTURE, data, t, Random(2))
        x_t = PROCESS.marginal(data, t).sample(Random(2))  # the same noise
        error = PROCESS.noise(x_t, MIXTURE(x_t, t), t) - PROCESS.noise(x_t, PROCESS.point(data), t)
        assert gamma + float(error.square().mean()) == pytest.approx(1, abs=0.03)
    last = next(iter(estimated(NORMAL, NORMAL.draw(50_000, Random(0)), [1.0], Random(1))))
    assert last == pytest.approx(0.25, rel=0.03)  # where the score's rule would say anything between 0 and 100


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_samples_of_a_gaussian_are_exact_at_any_number_of_steps(steps: int):
    """X10: the final variance is 1/4; the posterior's and beta's variances are not near at few steps."""
    denoiser = table(0.25)
    times = Linspace()(PROCESS.schedule, steps)
    variance = float(PROCESS.schedule.alpha(times[0]) ** 2 / 4 + PROCESS.schedule.sigma(times[0]) ** 2)
    for sampler in (Ancestral("exact"), DDIM(0.3, "exact")):
        total = variance
        for t, s in pairwise(times):
            one = torch.ones(1, 1, dtype=torch.float64)
            belief: Any = sampler.step(denoiser, one, t, s, random=Random(0))[0]
            total = float(belief.mean) ** 2 * total + float(torch.as_tensor(belief.var).max())
        assert total == pytest.approx(0.25, abs=1e-8)


def loss_of(w: float, posterior: float, extra: float) -> float:
    """E KL(N(., posterior) || N(., w)) where the guess is off by `extra` on average."""
    return 0.5 * (math.log(w / posterior) + (posterior + extra) / w - 1)


def test_the_bound_is_least_with_the_optimal_variance_on_every_sub_sequence(variances: Tensor):
    """X10's monotone law: step by step VLB(sigma*) <= VLB(beta), VLB(posterior); and `lost` is that step's own."""
    denoiser = OptimalVariance(MIXTURE, ALL.tolist(), variances.tolist())
    costs = lost(PROCESS, ALL, variances)
    for steps in (10, 25):
        grid = Linspace()(PROCESS.schedule, steps)
        for t, s in pairwise((grid[:-1] * 1000).round().long().tolist()):
            small, large = (step_variance(Ancestral(v), MIXTURE, t - 1, s - 1) for v in ("posterior", "beta"))
            best = step_variance(Ancestral("exact"), denoiser, t - 1, s - 1)
            losses = [loss_of(w, small, best - small) for w in (best, small, large)]
            assert losses[0] <= min(losses[1:])
            assert losses[0] == pytest.approx(float(costs[s - 1, t - 1]), rel=1e-6)


def test_the_optimal_steps_are_those_of_a_search_over_all_sub_sequences():
    places = torch.tensor([0, 9, 49, 120, 250, 400, 620, 850, 999])
    times, variances = ALL[places], exact_mixture_variances(MIXTURE, ALL[places])
    costs = lost(PROCESS, times, variances)
    for steps in (2, 4, 5, 9):
        found = optimal_steps(PROCESS, times, variances, steps)
        paths = [(0, *inner, 8) for inner in itertools.combinations(range(1, 8), steps - 2)]
        best = min(paths, key=lambda path: sum(float(costs[a, b]) for a, b in pairwise(path)))
        assert found.tolist() == [*times[list(best)].flip(0).tolist(), 0.0]


def test_the_optimal_steps_lose_less_than_even_ones(variances: Tensor):
    costs = lost(PROCESS, ALL, variances)

    def total(grid: Tensor) -> float:
        places = (grid[:-1] * 1000).round().long() - 1
        return sum(float(costs[s, t]) for t, s in pairwise(places))

    for steps in (5, 20):
        best = optimal_steps(PROCESS, ALL, variances, steps)
        assert len(best) == steps + 1
        assert total(best) < 0.97 * total(Linspace()(PROCESS.schedule, steps))
    data = sample(
        OptimalVariance(MIXTURE, ALL.tolist(), variances.tolist()), (4000, 1), sampler=Ancestral("exact"), times=best
    )
    assert float(data.mean()) == pytest.approx(0.17, abs=0.05)
    assert float(data.var()) == pytest.approx(0.2766, rel=0.08)


def test_bounds_cap_the_variance_and_if_wished_the_guess():
    denoiser = table(100.0)
    x, t = torch.full((3, 1), 50.0, dtype=torch.float64), torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    free, capped, clipped = (
        OptimalVariance(denoiser.denoiser, denoiser.times, denoiser.variances, **options)(x, t)
        for options in ({}, {"bounds": (-1.0, 1.0)}, {"bounds": (-1.0, 1.0), "clip_mean": True})
    )
    assert torch.as_tensor(free.var).max() > 1
    assert torch.as_tensor(capped.var).max() == 1
    assert torch.equal(capped.mean, free.mean)
    assert float(clipped.mean.max()) == 1
    assert float(torch.as_tensor(table(0.25)(x[:1], 0.0005).var)) < table(0.25).variances[0]  # 0 at data


def test_the_noise_of_the_last_steps_can_be_capped_or_left_out():
    full = table(0.25)
    for std in (0.0197, 0.0):
        quiet = OptimalVariance(full.denoiser, full.times, full.variances, late=0.1, late_std=std)
        assert step_variance(Ancestral("exact"), quiet, 99, -1) == pytest.approx(std**2, rel=1e-9)
        later = step_variance(Ancestral("exact"), full, 199, 99)
        assert step_variance(Ancestral("exact"), quiet, 199, 99) == later
    assert step_variance(Ancestral("exact"), full, 99, -1) == pytest.approx(full.variances[99], rel=1e-9)


@pytest.mark.each(
    ("make", "message"),
    [
        (lambda: OptimalVariance(NORMAL, (), ()), "as many variances as times, at least one; not 0 and 0"),
        (lambda: OptimalVariance(NORMAL, (0.5,), (1.0, 2.0)), "as many variances as times, at least one; not 2 and 1"),
        (
            lambda: OptimalVariance(NORMAL, (0.5, 0.4), (1.0, 1.0)),
            "needs times that rise from above 0, and variances of",
        ),
        (lambda: OptimalVariance(NORMAL, (0.5,), (-1.0,)), "needs times that rise from above 0, and variances of 0 or"),
        (lambda: OptimalVariance(NORMAL, (0.5,), (1.0,), (1.0, -1.0)), "the data's bounds must rise, not 1 to -1"),
        (
            lambda: OptimalVariance(NORMAL, (0.5,), (1.0,), clip_mean=True),
            "inside the data's bounds, and none are given",
        ),
        (
            lambda: OptimalVariance(NORMAL, (0.5,), (1.0,), late=2.0),
            r"optimal_variance needs late in \[0, 1\] and late_std >= 0, not 2, 0.0196",
        ),
        (
            lambda: variance(GaussianOracle(Gaussian(ContinuousCosine())), 1.0, 0.5),
            "the guess's variance cannot be told from the noise at t = 1, where alpha = 0",
        ),
        (
            lambda: list(estimated(NORMAL, torch.zeros(2, 1), [0.5], Random(0), "scores")),  # type: ignore[arg-type]
            r"the estimate of the optimal variance has no 'scores' \(did you mean 'score'\?\); it has: error, score",
        ),
        (lambda: optimal_steps(PROCESS, ALL, ALL, 1), "optimal_steps takes 2 to 1000 steps over 1000 times, not 1"),
        (
            lambda: optimal_steps(PROCESS, ALL.flip(0), ALL, 5),
            "optimal_steps needs times that rise from above 0 and as",
        ),
        (lambda: DDIM(variance="beta"), "ddim has no variance 'beta'; it has: posterior, exact"),  # type: ignore[arg-type]
        (
            lambda: DDIM(variance="exact").step(
                type("Sure", (), {"process": PROCESS, "__call__": lambda *a, **k: NORMAL(a[1], a[2]).mean_only()})(),
                torch.zeros(1, 1),
                ALL[5],
                ALL[4],
                random=Random(0),
            ),
            "ddim with variance 'exact' needs a denoiser that reports its variance; use 'posterior'",
        ),
    ],
)
def test_meaningless_requests_are_refused(make: Callable[[], Any], message: str):
    with pytest.raises(Refused, match=message):
        make()
