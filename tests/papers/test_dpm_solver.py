"""DPM-Solver++ (arXiv:2211.01095): its formulas written out, and its errors on a Gaussian; and those of DEIS."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import trajectory
from undiffuse.samplers import DDIM, DEIS, Multistep, Singlestep
from undiffuse.schedules import VP, FlowSchedule

ORACLE = MixtureOracle(Gaussian(VP()), [0.3, 0.7], torch.tensor([[-0.6], [0.5]]), torch.tensor([0.04, 0.04]))
TIMES = torch.tensor([1.0, 0.8, 0.55, 0.4, 0.2, 0.15], dtype=torch.float64)


def level(t: Tensor) -> float:
    """lambda = log(alpha / sigma)."""
    return float(VP().log_snr(t)) / 2


def run(sampler: Multistep, x: Tensor) -> list[Any]:
    """The beliefs after each step, each step started from the last one's mean."""
    memory, beliefs = None, []
    for t, s in pairwise(TIMES):
        belief, memory = sampler.step(ORACLE, x, t, s, memory, random=Random(0))
        beliefs.append(belief)
        x = beliefs[-1].mean
    return beliefs


def test_second_order_is_the_papers_algorithm_two():
    """x_i = sigma_i/sigma_{i-1} x - alpha_i (e^{-h} - 1) D, D = (1 + 1/(2r)) D_i - 1/(2r) D_{i-1}, r = h_{i-1}/h_i;
    first order first.
    """
    x = Random(0).normal((5, 1), dtype=torch.float64)
    got, last, h_last = run(Multistep(order=2), x), None, 0.0
    for belief, t, s in zip(got, TIMES[:-1], TIMES[1:], strict=True):
        h, guess = level(s) - level(t), ORACLE(x, t).mean
        r = h_last / h
        mixed = guess if last is None else (1 + 1 / (2 * r)) * guess - last / (2 * r)
        (alpha_s, sigma_s), (_, sigma_t) = (VP().at(u, x) for u in (s, t))
        x = sigma_s / sigma_t * x - alpha_s * (math.exp(-h) - 1) * mixed
        torch.testing.assert_close(belief.mean, x, rtol=0, atol=1e-11)
        assert float(torch.as_tensor(belief.var)) == 0
        last, h_last = guess, h


def test_the_sde_of_second_order_is_the_papers():
    """x_i = sigma_i/sigma_{i-1} e^{-h} x + alpha_i (1 - e^{-2h}) D + sigma_i sqrt(1 - e^{-2h}) z."""
    x = Random(0).normal((5, 1), dtype=torch.float64)
    got, last, h_last = run(Multistep(order=2, eta=1.0), x), None, 0.0
    for belief, t, s in zip(got, TIMES[:-1], TIMES[1:], strict=True):
        h, guess = level(s) - level(t), ORACLE(x, t).mean
        mixed = guess if last is None else guess + (guess - last) * h / (2 * h_last)
        (alpha_s, sigma_s), (_, sigma_t) = (VP().at(u, x) for u in (s, t))
        x = sigma_s / sigma_t * math.exp(-h) * x + alpha_s * (1 - math.exp(-2 * h)) * mixed
        torch.testing.assert_close(belief.mean, x, rtol=0, atol=1e-11)
        assert float(torch.as_tensor(belief.var).max()) == pytest.approx(
            float(sigma_s) ** 2 * (1 - math.exp(-2 * h)), rel=1e-9
        )
        last, h_last = guess, h


def test_a_single_step_of_third_order_is_the_papers():
    """arXiv:2206.00927, alg. 2 with r_1 = 1/3 and r_2 = 2/3, of guesses in place of noise, with phi(x) = e^(-x h) - 1:
    u_1 = .. - alpha phi(r_1) D;  u_2 = .. - alpha phi(r_2) D + r_2/r_1 alpha (phi(r_2)/(r_2 h) + 1) (D_1 - D);
    x_s = .. - alpha phi(1) D + 1/r_2 alpha (phi(1)/h + 1) (D_2 - D).
    """
    x, (t, s) = Random(0).normal((5, 1), dtype=torch.float64), TIMES[1:3]
    h, first = level(s) - level(t), ORACLE(x, t).mean

    def moved(share: float, ahead: Any) -> tuple[Tensor, Any]:
        """The time at this share of the way, and the state there, of D and (D_i - D) r/r_i."""
        u = VP().time(torch.tensor(2 * (level(t) + share * h), dtype=torch.float64))
        (alpha, sigma), (_, sigma_t) = (VP().at(each, x) for each in (u, t))
        phi = math.expm1(-share * h)
        return u, sigma / sigma_t * x - alpha * phi * first + alpha * (phi / (share * h) + 1) * ahead

    u, x_u = moved(1 / 3, 0.0)
    u, x_u = moved(2 / 3, 2 * (ORACLE(x_u, u).mean - first))
    _, wanted = moved(1.0, 1.5 * (ORACLE(x_u, u).mean - first))
    torch.testing.assert_close(
        Singlestep(3).step(ORACLE, x, t, s, random=Random(0))[0].mean, wanted, rtol=0, atol=1e-12
    )


def test_deis_integrates_the_noise_as_a_polynomial_of_time():
    """arXiv:2204.13902, eq. 15: x_s/alpha_s = x/alpha + integral of eps(t) dr. On flow matching's schedule, where
    t = r/(1 + r), the means of t and t^2 over r are 1 - l and 1 - 2 l - i, l and i the mean slopes of log(1 + r) and
    1/(1 + r).
    """
    oracle = MixtureOracle(
        Gaussian(FlowSchedule()), [0.3, 0.7], torch.tensor([[-0.6], [0.5]]), torch.tensor([0.1, 0.1])
    )
    x, memory, noises = Random(0).normal((5, 1), dtype=torch.float64), None, list[Tensor]()
    times = [0.9, 0.75, 0.6, 0.3]
    for i, (t, s) in enumerate(pairwise(torch.tensor(times, dtype=torch.float64))):
        noises.insert(0, (x - (1 - t) * oracle(x, t).mean) / t)
        belief, memory = DEIS(3).step(oracle, x, t, s, memory, random=Random(0))
        low, high = (float(each / (1 - each)) for each in (t, s))
        slope = (math.log1p(high) - math.log1p(low)) / (high - low)
        inverse = (1 / (1 + high) - 1 / (1 + low)) / (high - low)
        means = torch.tensor([1.0, 1 - slope, 1 - 2 * slope - inverse], dtype=torch.float64)[: i + 1]
        powers = torch.tensor(times[i::-1], dtype=torch.float64) ** torch.arange(i + 1)[:, None]
        shares = torch.linalg.solve(powers, means)
        eps = sum(share * noise for share, noise in zip(shares, noises, strict=True))
        x = (1 - s) * (x / (1 - t) + (high - low) * eps)
        torch.testing.assert_close(belief.mean, x, rtol=0, atol=1e-12)


def test_third_order_integrates_the_quadratic_through_three_guesses():
    """x_s = sigma_s/sigma_t x + sigma_s integral of e^l D(l) dl with D the Lagrange quadratic, by a fine sum.

    The paper's released multistep code halves the second derivative, and is of second order;
    this is the integral itself.
    """
    x = Random(0).normal((5, 1), dtype=torch.float64)
    got = run(Multistep(order=3), x)
    nodes: list[float] = []
    guesses: list[Tensor] = []
    state = x
    for i, (belief, t, s) in enumerate(zip(got, TIMES[:-1], TIMES[1:], strict=True)):
        nodes.append(level(t))
        guesses.append(ORACLE(state, t).mean)
        if i >= 2:
            points, weights = gauss(nodes[-1], level(s))
            near = nodes[-3:]
            curve = torch.zeros(len(points), *x.shape, dtype=torch.float64)
            for j in range(3):
                basis = torch.ones_like(points)
                for k in range(3):
                    if k != j:
                        basis = basis * (points - near[k]) / (near[j] - near[k])
                curve = curve + basis[:, None, None] * guesses[-3 + j]
            integral = (weights * points.exp())[:, None, None].mul(curve).sum(0)
            sigma_s, sigma_t = (float(VP().sigma(u)) for u in (s, t))
            torch.testing.assert_close(belief.mean, sigma_s / sigma_t * state + sigma_s * integral, rtol=0, atol=1e-9)
        state = belief.mean


def gauss(low: float, high: float) -> tuple[Tensor, Tensor]:
    import numpy as np

    points, weights = np.polynomial.legendre.leggauss(40)
    half = (high - low) / 2
    return torch.from_numpy((low + high) / 2 + half * points), torch.from_numpy(half * weights)


def error(sampler: Any, steps: int, lower_last: bool) -> float:
    """The final multiplier of x on N(0, .25), less the exact one, on the grid even in log-SNR from t = 1 to 1e-3."""
    oracle = GaussianOracle(Gaussian(VP()), 0.0, 0.25)
    ends = VP().log_snr(torch.tensor([1.0, 1e-3], dtype=torch.float64))
    times = VP().time(torch.linspace(float(ends[0]), float(ends[1]), steps + 1, dtype=torch.float64))
    times[0] = 1.0
    x: Any = torch.ones(1, 1, dtype=torch.float64)
    if not lower_last:
        *_, x = trajectory(oracle, sampler, x, times, random=Random(0))
    else:
        *_, x = trajectory(oracle, sampler, x, times[:-1], random=Random(0))
        *_, x = trajectory(oracle, DDIM(), x, times[-2:], random=Random(0))
    (alpha_1, sigma_1), (alpha_0, sigma_0) = (VP().at(t, torch.zeros(1)) for t in (times[0], times[-1]))
    exact = math.sqrt(
        (float(alpha_0) ** 2 * 0.25 + float(sigma_0) ** 2) / (float(alpha_1) ** 2 * 0.25 + float(sigma_1) ** 2)
    )
    assert exact == pytest.approx(0.50009055, abs=1e-8)
    return float(x) - exact


@pytest.mark.parametrize(
    ("steps", "first", "second", "lowered"),
    [
        (5, -0.1831, -0.0192, -0.0736),
        (10, -0.1064, 0.0164, 0.0112),
        (20, -0.0564, 0.00651, 0.00638),
        (40, -0.0291, 0.00175, 0.00174),
    ],
)
def test_errors_on_a_gaussian(steps: int, first: float, second: float, lowered: float):
    """X13: DDIM, 2M, and 2M whose last step is of first order."""
    for sampler, lower_last, wanted in (
        (DDIM(), False, first),
        (Multistep(2), False, second),
        (Multistep(2), True, lowered),
    ):
        assert error(sampler, steps, lower_last) == pytest.approx(wanted, abs=6e-5 if abs(wanted) > 0.01 else 6e-6)
