"""DDPM (arXiv:2006.11239) and improved DDPM (arXiv:2102.09672): their tables, their posterior, their variances."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.grids.even import Even
from undiffuse.grids.linspace import Linspace
from undiffuse.samplers import DDIM, Ancestral
from undiffuse.schedules import VP, Cosine, LinearBeta, SubVP, TableSchedule

BETAS = np.linspace(1e-4, 0.02, 1000)
ALPHA_BARS = np.cumprod(1 - BETAS)
BEFORE = np.append(1.0, ALPHA_BARS[:-1])
SMALL = BETAS * (1 - BEFORE) / (1 - ALPHA_BARS)  # the posterior's variance, beta tilde


def near(wanted: float, digits: float = 1e-8) -> Any:
    return pytest.approx(wanted, rel=digits)


def test_linear_beta_has_the_papers_alpha_bars():
    """X01: the values of the cumulative product at the indices 0, 99, 499, 899, 999."""
    for index, value in (
        (0, 0.9999),
        (99, 0.897018146),
        (499, 0.0785872429),
        (899, 2.75205912e-4),
        (999, 4.03582977e-5),
    ):
        alpha = LinearBeta().alpha(torch.tensor((index + 1) / 1000, dtype=torch.float64))
        assert float(alpha**2) == near(value)
    assert float(LinearBeta().alpha(torch.tensor(1.0))) == near(0.0063528, 1e-4)


def test_the_bridge_is_the_papers_posterior():
    """eq. 6 and 7 at every index: mean c1 x_0 + c2 x_t and variance beta tilde; c1 = 1, c2 = 0 at the index 0."""
    process = Gaussian(LinearBeta())
    c1, c2 = np.sqrt(BEFORE) * BETAS / (1 - ALPHA_BARS), np.sqrt(1 - BETAS) * (1 - BEFORE) / (1 - ALPHA_BARS)
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    s = torch.arange(1000, dtype=torch.float64) / 1000
    x_t, x_0 = Random(0).normal((1000, 2), dtype=torch.float64), Random(1).normal((1000, 2), dtype=torch.float64)
    bridge = process.bridge(x_t, process.point(x_0), s, t)
    wanted = torch.from_numpy(c1)[:, None] * x_0 + torch.from_numpy(c2)[:, None] * x_t
    torch.testing.assert_close(bridge.mean, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.as_tensor(bridge.var)[:, 0], torch.from_numpy(SMALL), rtol=1e-9, atol=1e-18)
    assert torch.equal(bridge.mean[0], x_0[0])
    for index, value in ((1, 5.45318766e-5), (2, 8.54891152e-5), (999, 0.0199999835)):
        assert float(torch.as_tensor(bridge.var)[index, 0]) == near(value)
    assert math.log(float(torch.as_tensor(bridge.var)[1, 0])) == near(
        -9.816725, 1e-6
    )  # the clipped log-variance at the index 0
    torch.testing.assert_close(process.kernel_variance(s, t, x_t)[:, 0], torch.from_numpy(BETAS), rtol=1e-9, atol=0)


def test_ancestral_steps_are_the_papers_algorithm():
    """alg. 2 written out: 1/sqrt(alpha_t) (x_t - beta_t / sqrt(1 - abar_t) noise guess) + sigma_t z,
    for both variances.
    """
    process = Gaussian(LinearBeta())
    oracle = GaussianOracle(process, 0.2, 0.25)
    x_t = Random(0).normal((3, 2), dtype=torch.float64)
    for index in (0, 1, 500, 999):
        t, s = (torch.tensor(i / 1000, dtype=torch.float64) for i in (index + 1, index))
        noise = process.noise(x_t, oracle(x_t, t), t)
        mean = (x_t - BETAS[index] / math.sqrt(1 - ALPHA_BARS[index]) * noise) / math.sqrt(1 - BETAS[index])
        for variance, wanted in (("posterior", SMALL[index]), ("beta", BETAS[index] if index else 0.0)):
            belief: Any = Ancestral(variance).step(oracle, x_t, t, s, random=Random(0))[0]
            torch.testing.assert_close(belief.mean, mean, rtol=1e-9, atol=1e-9)
            assert float(torch.as_tensor(belief.var).max()) == pytest.approx(float(wanted), rel=1e-8, abs=1e-18)


def final_variance(variance: Any, steps: int) -> float:
    """The exact recursion of N(0, 1) through ancestral sampling on the linspace grid, data N(0, .25)."""
    oracle = GaussianOracle(Gaussian(LinearBeta()), 0.0, 0.25)
    times = Linspace()(LinearBeta(), steps)
    one, total = torch.ones(1, 1, dtype=torch.float64), 1.0
    for t, s in pairwise(times):
        belief: Any = Ancestral(variance).step(oracle, one, t, s, random=Random(0))[0]
        total = float(belief.mean) ** 2 * total + float(torch.as_tensor(belief.var).max())
    return total


@pytest.mark.parametrize(
    ("steps", "large", "small"),
    [(10, 0.358521, 0.104222), (50, 0.267883, 0.196420), (100, 0.258652, 0.218981)],
)
def test_ancestral_ends_with_the_variance_of_its_recursion(steps: int, large: float, small: float):
    """X07: data N(0, .25), started from N(0, 1); the exact variance is right at every count."""
    assert final_variance("beta", steps) == pytest.approx(large, abs=1e-6)
    assert final_variance("posterior", steps) == pytest.approx(small, abs=1e-6)
    assert final_variance("exact", steps) == pytest.approx(0.25, abs=3e-5)  # N(0, 1) is not quite q(x_1)


def test_all_steps_of_the_table_end_with_the_variance_of_their_recursion():
    """X07 at 1000 steps, all of them in one batch of times."""
    process = Gaussian(LinearBeta())
    times, x = Even()(LinearBeta(), 1000), torch.ones(1000, 1, dtype=torch.float64)
    t, s = times[:-1], times[1:]
    bridge = process.bridge(x, GaussianOracle(process, 0.0, 0.25)(x, t).mean_only(), s, t)
    large = process.kernel_variance(s, t, x)
    large[-1] = 0
    for variances, wanted in ((torch.as_tensor(bridge.var), 0.246125), (large, 0.250752)):
        total = 1.0
        for slope, variance in zip(bridge.mean.flatten().tolist(), variances.flatten().tolist(), strict=True):
            total = slope**2 * total + variance
        assert total == pytest.approx(wanted, abs=1e-6)


def test_full_ddim_with_eta_one_is_ancestral_sampling():
    """X08: the same mean and the same noise at each of the thousand steps."""
    oracle = GaussianOracle(Gaussian(LinearBeta()), 0.2, 0.25)
    x = Random(0).normal((2, 2), dtype=torch.float64)
    times = Even()(LinearBeta(), 1000)
    for t, s in zip(times[:-1:37], times[1::37], strict=True):
        a: Any = Ancestral().step(oracle, x, t, s, random=Random(0))[0]
        b: Any = DDIM(eta=1.0).step(oracle, x, t, s, random=Random(0))[0]
        torch.testing.assert_close(a.mean, b.mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            torch.as_tensor(a.var).double(), torch.as_tensor(b.var).double(), rtol=1e-12, atol=1e-18
        )


def test_a_respaced_table_keeps_its_alpha_bars():
    """X09: betas of a sub-sequence, 1 - abar_t / abar_prev, multiply back to the same alpha-bars;
    the identity is bit-equal.
    """
    kept = [0, 99, 499, 899, 999]
    sub = ALPHA_BARS[kept]
    betas = 1 - sub / np.append(1.0, sub[:-1])
    at = torch.arange(1, 6, dtype=torch.float64) / 5
    torch.testing.assert_close(
        TableSchedule(betas=tuple(betas)).alpha(at) ** 2, torch.from_numpy(sub), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(
        TableSchedule(alpha_bars=tuple(sub)).alpha(at) ** 2, torch.from_numpy(sub), rtol=1e-14, atol=0
    )
    every = torch.arange(1, 1001, dtype=torch.float64) / 1000
    assert torch.equal(TableSchedule(alpha_bars=tuple(LinearBeta().table())).alpha(every), LinearBeta().alpha(every))
    assert torch.equal(TableSchedule(betas=tuple(BETAS)).alpha(every), LinearBeta().alpha(every))


def test_respaced_sampling_is_sampling_on_a_coarser_grid():
    """A step over several indices of the table is one step of the respaced table."""
    kept = [0, 99, 499, 899, 999]
    coarse, fine = Gaussian(TableSchedule(alpha_bars=tuple(ALPHA_BARS[kept]))), Gaussian(LinearBeta())
    x_t, x_0 = Random(0).normal((2, 2), dtype=torch.float64), Random(1).normal((2, 2), dtype=torch.float64)
    for i in range(1, 5):
        a = coarse.bridge(x_t, Normal(x_0), i / 5, (i + 1) / 5)
        b = fine.bridge(x_t, Normal(x_0), (kept[i - 1] + 1) / 1000, (kept[i] + 1) / 1000)
        torch.testing.assert_close(a.mean, b.mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(a.var, b.var, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("steps", "first_beta", "last"),
    [
        (1000, 4.128422e-5, 2.4288e-9),
        (4000, 9.865819e-6, 1.518e-10),
        (100, 6.312816e-4, 2.4286e-7),
        (20, 7.992721e-3, None),
    ],
)
def test_cosine_has_the_papers_table(steps: int, first_beta: float, last: float | None):
    """X02: arXiv:2102.09672, eq. 17; exactly one beta is clipped."""
    table = Cosine(steps=steps).table()
    betas = 1 - table / np.append(1.0, table[:-1])
    assert betas[0] == near(first_beta, 1e-6)
    assert np.isclose(betas, 0.999, rtol=1e-9).sum() == 1
    if last:
        assert table[-1] == near(last, 1e-3)
    if steps == 1000:
        assert table[0] == near(0.99995872, 1e-8)
        assert table[499] == near(0.493844, 1e-5)


@pytest.mark.parametrize(("second_moment", "bits"), [(0.25, 7.2787e-6), (1.0, 2.9113e-5)])
def test_what_is_left_of_the_data_at_the_end(second_moment: float, bits: float):
    """L_T = KL(q(x_T given x_0) || N(0, 1)) in bits a dimension, averaged over data of this second moment."""
    process = Gaussian(LinearBeta())
    x_0 = torch.tensor([[1.0], [-1.0]], dtype=torch.float64) * second_moment**0.5
    end = process.marginal(x_0, 1.0)
    prior = Normal(torch.zeros(2, 1, dtype=torch.float64), 1.0)
    assert float(end.kl(prior).mean()) / math.log(2) == near(bits, 1e-3)


def test_zero_terminal_signal_rescaling():
    """arXiv:2305.08891, alg. 1: sqrt(alpha_bar) is shifted and scaled;
    the first step stays, nothing is left at the last.
    """
    schedule = TableSchedule(betas=tuple(BETAS), zero_terminal_snr=True)
    root = np.sqrt(ALPHA_BARS)
    wanted = (root - root[-1]) * root[0] / (root[0] - root[-1])
    got: Tensor = schedule.alpha(torch.arange(1, 1001, dtype=torch.float64) / 1000)
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-9, atol=1e-12)
    assert float(got[0] ** 2) == near(0.9999, 1e-12)
    assert float(got[-1]) == 0


@pytest.mark.parametrize(
    ("t", "alpha", "sigma"),
    [(1e-3, 0.99994503, 0.01048542), (0.5, 0.28118288, 0.95965420), (1.0, 0.00657159, 0.99997841)],
)
def test_the_vp_sde_has_the_papers_mean_and_std(t: float, alpha: float, sigma: float):
    """arXiv:2011.13456, eq. 33."""
    time = torch.tensor(t, dtype=torch.float64)
    assert float(VP().alpha(time)) == near(alpha, 1e-6)
    assert float(VP().sigma(time)) == near(sigma, 1e-6)
    sub: Schedule = SubVP()
    assert float(sub.alpha(time)) == near(alpha, 1e-6)
    assert float(sub.sigma(time)) == near(1 - alpha**2, 1e-4)
    assert float(sub.sigma(torch.tensor(1.0))) == near(0.99995681, 1e-8)
