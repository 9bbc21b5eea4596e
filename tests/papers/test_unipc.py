"""UniPC (arXiv:2302.04867): its formulas written out, its errors on a Gaussian, and what it shares with relatives."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import trajectory
from undiffuse.samplers import SA, Multistep, Singlestep, UniPC
from undiffuse.schedules import VP, FlowSchedule

ORACLE = MixtureOracle(Gaussian(VP()), [0.3, 0.7], torch.tensor([[-0.6], [0.5]]), torch.tensor([0.04, 0.04]))
TIMES = torch.tensor([1.0, 0.8, 0.55, 0.4, 0.2, 0.15], dtype=torch.float64)


def steps(sampler: UniPC, count: int) -> list[UniPC]:
    """One sampler a step, with lower orders in the last ones, as the paper takes them."""
    return [replace(sampler, order=min(sampler.order, count - i)) for i in range(count)]


def error(sampler: UniPC, count: int) -> float:
    """The relative error of the multiplier of x on N(0, .25), on the grid even in log-SNR from t = 1 to 1e-3."""
    oracle = GaussianOracle(Gaussian(VP()), 0.0, 0.25)
    ends = VP().log_snr(torch.tensor([1.0, 1e-3], dtype=torch.float64))
    times = VP().time(torch.linspace(float(ends[0]), float(ends[1]), count + 1, dtype=torch.float64))
    times[0] = 1.0
    x, memory = torch.ones(1, 1, dtype=torch.float64), None
    for each, t, s in zip(steps(sampler, count), times[:-1], times[1:], strict=True):
        belief, memory = each.step(oracle, x, t, s, memory, random=Random(0))
        x = belief.mean
    return float(x) / 0.50009055 - 1


@pytest.mark.parametrize(
    ("variant", "order", "at_20", "at_40"),
    [
        ("bh2", 2, "7.98e-03", "1.09e-03"),
        ("bh2", 3, "5.4e-04", "-7.4e-05"),
        ("bh1", 2, "1.92e-02", "2.20e-03"),
        ("bh1", 3, "6.3e-04", "-7.2e-05"),
    ],
)
def test_errors_on_a_gaussian(variant: Any, order: int, at_20: str, at_40: str):
    """The figures to every digit that they have, and the paper's own equations to eleven."""
    for count, wanted in ((20, at_20), (40, at_40)):
        found = error(UniPC(order, variant), count)
        assert f"{found:.{len(wanted.lstrip('-')) - 6}e}" == wanted
        assert found == pytest.approx(written_out(order, variant, count), abs=1e-11)


def written_out(order: int, variant: str, count: int) -> float:
    """The same error by alg. 1 and 2 on one number: at each new state the corrector goes again from the last corrected
    one, by the guesses that predicted and the new one, and then the predictor goes on.
    """
    ends = VP().log_snr(torch.tensor([1.0, 1e-3], dtype=torch.float64))
    levels = (torch.linspace(float(ends[0]), float(ends[1]), count + 1, dtype=torch.float64) / 2).tolist()
    alphas, sigmas = ([math.sqrt(1 / (1 + math.exp(sign * level))) for level in levels] for sign in (-2, 2))

    def moved(x: float, i: int, guesses: list[float], nodes: list[int]) -> float:
        """From levels[i] to the next by the guess there, the first, and others at the levels of these numbers."""
        h = levels[i + 1] - levels[i]
        r = [(levels[node] - levels[i]) / h for node in nodes]
        scale = -h if variant == "bh1" else math.expm1(-h)
        weights = rho(r, h, scale).tolist() if len(r) > 1 else [0.5] * len(r)
        change = sum(w * (m - guesses[0]) / each for w, m, each in zip(weights, guesses[1:], r, strict=True))
        total = math.expm1(-h) * guesses[0] + scale * change
        return sigmas[i + 1] / sigmas[i] * x - alphas[i + 1] * total

    x, m, used, last = 1.0, list[float](), 0, 1.0
    for i in range(count):
        m.append(alphas[i] / 4 / (alphas[i] ** 2 / 4 + sigmas[i] ** 2) * x)
        if i:
            before = [i - 1 - k for k in range(1, used)]
            x = moved(last, i - 1, [m[i - 1], *(m[k] for k in before), m[i]], [*before, i])
        used, last = min(order, count - i, i + 1), x
        before = [i - k for k in range(1, used)]
        x = moved(x, i, [m[i], *(m[k] for k in before)], before)
    return x / 0.50009055 - 1


def rho(r: list[float], h: float, scale: float) -> Tensor:
    """R rho = b, R_i = r^(i-1), b_i = psi_i i!/B(h), for the guess of the data: h counts as -h."""
    hh, n = -h, len(r)
    psi, b = math.expm1(hh) / hh - 1, list[float]()
    for i in range(1, n + 1):
        b.append(psi * math.factorial(i) / scale)
        psi = psi / hh - 1 / math.factorial(i + 1)
    matrix = torch.tensor(r, dtype=torch.float64) ** torch.arange(n, dtype=torch.float64)[:, None]
    return torch.linalg.solve(matrix, torch.tensor(b, dtype=torch.float64))


def test_a_step_is_the_papers_linear_system():
    """x_s = sigma_s/sigma_t x - alpha_s (phi m_0 + B sum_k rho_k (m_k - m_0)/r_k), R rho = b, as the paper and its code
    write it, for the predictor of order 3 and the corrector of order 2; B cancels.
    """
    process: Any = ORACLE.process
    x, memory, states = Random(0).normal((5, 1), dtype=torch.float64), None, list[Tensor]()
    for t, s in pairwise(TIMES[:4]):
        states.append(x)
        belief, memory = UniPC(3).step(ORACLE, x, t, s, memory, random=Random(0))
        x = belief.mean
    level = [float(VP().log_snr(t)) / 2 for t in TIMES]
    m = [ORACLE(state, t).mean for state, t in zip(states, TIMES, strict=False)]
    # the state at TIMES[2], corrected by m[2] and then predicted on; before it was predicted by order 2 from `base`
    alpha, sigma = process.schedule.at(TIMES, TIMES)
    h = level[2] - level[1]
    r = (level[0] - level[1]) / h
    predicted = math.expm1(-h) * (m[1] + 0.5 * (m[0] - m[1]) / r)
    both = rho([r, 1.0], h, 1.0)
    corrected = math.expm1(-h) * m[1] + both[0] * (m[0] - m[1]) / r + both[1] * (m[2] - m[1])
    start = states[2] - alpha[2] * (corrected - predicted)
    h = level[3] - level[2]
    r_1, r_2 = ((level[i] - level[2]) / h for i in (1, 0))
    both = rho([r_1, r_2], h, 1.0)
    total = math.expm1(-h) * m[2] + both[0] * (m[1] - m[2]) / r_1 + both[1] * (m[0] - m[2]) / r_2
    torch.testing.assert_close(x, sigma[3] / sigma[2] * start - alpha[3] * total, rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_its_predictor_with_b2_is_multistep(order: int):
    """DPM-Solver++(2M), and its third order."""
    state, memory, other = Random(0).normal((5, 1), dtype=torch.float64), None, None
    for t, s in pairwise(TIMES):
        _, memory = UniPC(order).step(ORACLE, state, t, s, memory, random=Random(0))
        belief, other = Multistep(order).step(ORACLE, state, t, s, other, random=Random(0))
        torch.testing.assert_close(memory.shares, other.shares, rtol=0, atol=1e-12)
        state = belief.mean


def test_noisy_steps_of_sa_are_its_integrals_of_lines():
    """arXiv:2309.05019, eq. 14 and 17 for two guesses, g = 1 + tau^2: the mean of (l - l_i)/h, weighed by e^(g l), over
    a step of length h is 1/(1 - e^(-g h)) - 1/(g h). The corrector keeps the step's noise.
    """
    process: Any = ORACLE.process
    tau, (alpha, sigma) = 0.7, process.schedule.at(TIMES[:3], TIMES[:3])
    g, (h, then) = 1 + tau**2, (alpha / sigma).log().diff().tolist()
    x, noise = (Random(i).normal((5, 1), dtype=torch.float64) for i in (0, 1))
    first, memory = SA(2, 2, tau).step(ORACLE, x, TIMES[0], TIMES[1], random=Random(0))
    x_1 = first.mean + first.var**0.5 * noise
    second, _ = SA(2, 2, tau).step(ORACLE, x_1, TIMES[1], TIMES[2], memory, random=Random(0))

    def kept(i: int, h: float) -> tuple[Tensor, Tensor, Tensor]:
        """The share of x, that of the guesses, and the variance, of the i-th step."""
        keep = sigma[i + 1] / sigma[i] * math.exp(-(tau**2) * h)
        return keep, -alpha[i + 1] * math.expm1(-g * h), -(sigma[i + 1] ** 2) * math.expm1(-2 * tau**2 * h)

    m_0, m_1 = ORACLE(x, TIMES[0]).mean, ORACLE(x_1, TIMES[1]).mean
    (keep, pull, var), (keep_then, pull_then, var_then) = kept(0, h), kept(1, then)
    rise, rise_then = (-1 / math.expm1(-g * each) - 1 / (g * each) for each in (h, then))
    torch.testing.assert_close(x_1, keep * x + pull * m_0 + var**0.5 * noise, rtol=0, atol=1e-13)
    corrected = x_1 + pull * rise * (m_1 - m_0)
    wanted = keep_then * corrected + pull_then * (m_1 + rise_then * then / h * (m_1 - m_0))
    torch.testing.assert_close(second.mean, wanted, rtol=0, atol=1e-13)
    torch.testing.assert_close(second.var.expand_as(wanted), var_then.expand_as(wanted), rtol=0, atol=1e-13)


@pytest.mark.parametrize("schedule", [FlowSchedule()], ids=repr)
@pytest.mark.parametrize("sampler", [UniPC(3), UniPC(3, "bh1"), SA(3, 3), Singlestep(2), Singlestep(3)], ids=repr)
def test_a_start_without_signal_is_no_obstacle(sampler: Any, schedule: Any):
    """alpha = 0 at t = 1, where log(alpha/sigma) is infinite."""
    oracle = GaussianOracle(Gaussian(schedule), 0.3, 0.25)
    x = Random(0).normal((2000, 1), dtype=torch.float64)
    *_, end = trajectory(oracle, sampler, x, torch.linspace(1, 0, 25, dtype=torch.float64), random=Random(0))
    assert float(end.std()) == pytest.approx(0.5, rel=0.15)
    assert float(end.mean()) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UniPC(4), "unipc has order 1, 2 or 3, not 4"),
        (lambda: Singlestep(1), "singlestep has order 2 or 3, not 1; of order 1 it is ddim"),
        (lambda: SA(0), "sa has order 1 to 4, corrector 0 to 4, tau >= 0 and lowest <= highest; not SA"),
        (lambda: SA(tau=-1.0), "sa has order 1 to 4, corrector 0 to 4, tau >= 0 and lowest <= highest; not SA"),
    ],
)
def test_meaningless_fields_are_refused(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()
