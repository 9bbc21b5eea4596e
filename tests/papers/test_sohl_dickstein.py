"""Sohl-Dickstein et al. 2015 (arXiv:1503.03585): the heartbeat's exact bounds, the paper's convention, entropies."""

import math
from collections import Counter
from itertools import combinations_with_replacement, pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.core.oracles import GaussianOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.data.toys.heartbeat import Heartbeat
from undiffuse.likelihood import elbo
from undiffuse.likelihood.terms import kernel, reconstruction, step
from undiffuse.schedules import Harmonic, LogLinear

LENGTH, PERIOD, MEAN = 20, 5, 0.2
EACH = LENGTH // PERIOD  # places of one phase
PHASES = (torch.arange(LENGTH) % PERIOD == torch.arange(PERIOD)[:, None]).long()  # the five heartbeats
TRUTH = -math.log2(PERIOD)
EXACT = {5: -3.55291, 20: -2.58133, 100: -2.37179, 500: -2.33182, 2000: -2.32440}


def counts() -> tuple[np.ndarray, np.ndarray]:
    """How many ones each phase's places can have given the phase 0, up to the order of phases 1 to 4, which are alike:
    (350, 5), and in how many ways each comes about.
    """
    found, ways = [], []
    for first in range(EACH + 1):
        for rest in combinations_with_replacement(range(EACH + 1), PERIOD - 1):
            orders = math.factorial(PERIOD - 1) // math.prod(map(math.factorial, Counter(rest).values()))
            found.append((first, *rest))
            ways.append(orders * math.prod(math.comb(EACH, n) for n in found[-1]))
    return np.array(found), np.array(ways, float)


ONES, WAYS = counts()


def weights(t: np.ndarray) -> np.ndarray:
    """q(these counts at time t given phase 0), (times, 350)."""
    stay, rise = (1 - t + MEAN * t)[:, None], (MEAN * t)[:, None]  # P(x_t = 1) of a one and of a zero
    first, rest = ONES[:, 0], ONES[:, 1:].sum(1)
    return WAYS * stay**first * (1 - stay) ** (EACH - first) * rise**rest * (1 - rise) ** (LENGTH - EACH - rest)


def bound(steps: int) -> float:
    """-sum KL - E log p(x_0 given x_1) in bits for the best reverse process that is factorised over places, written out
    from the joint law of (phase, x_s, x_t) without the package.
    """
    total = 0.0
    for levels in np.array_split(np.arange(steps, 0, -1), max(1, steps // 100)):
        t, s = levels / steps, (levels - 1) / steps
        stay, rise = (1 - t + MEAN * t)[:, None, None], (MEAN * t)[:, None, None]
        n = ONES[None]  # (1, 350, 5)
        score = n * np.log(stay / rise) + (EACH - n) * np.log((1 - stay) / (1 - rise))
        phase = np.exp(score - score.max(2, keepdims=True))
        phase /= phase.sum(2, keepdims=True)  # q(phase given x_t)
        other = phase @ (1 - np.eye(PERIOD))  # 1 - phase, without cancelling digits
        forward = ((1 - t) / np.where(levels > 1, 1 - s, 1.0))[:, None, None]  # chance to stay from s to t
        kl = 0.0
        for value in (0, 1):
            reach = {x_s: forward * (x_s == value) + (1 - forward) * (MEAN if value else 1 - MEAN) for x_s in (0, 1)}
            given = {}  # P(x_s = 1 given x_t = value, x_0)
            for x_0 in (0, 1):
                one = (1 - s)[:, None, None] * x_0 + MEAN * s[:, None, None]
                given[x_0] = reach[1] * one / (reach[1] * one + reach[0] * (1 - one))
            guess = phase * given[1] + other * given[0]
            against = phase * (1 - given[1]) + other * (1 - given[0])
            many = n if value else EACH - n
            for which, x_0 in ((slice(0, 1), 1), (slice(1, None), 0)):
                q, p, rest = given[x_0], guess[..., which], against[..., which]
                with np.errstate(divide="ignore", invalid="ignore"):
                    one, zero = q * np.log(q / p), (1 - q) * np.log((1 - q) / rest)
                    each = np.where(q > 0, one, 0) + np.where(q < 1, zero, 0)
                    kl = kl + np.where(many[..., which] > 0, many[..., which] * each, 0).sum(2)
        total += float((weights(t) * kl).sum())
    return -total / math.log(2)


@pytest.mark.parametrize("steps", EXACT)
def test_the_bound_of_a_perfect_factorised_heartbeat(steps: int):
    """X19, by enumeration of what each phase's places can hold; it rises to the truth, -log2 5, and stays below."""
    assert bound(steps) == pytest.approx(EXACT[steps], abs=1e-5)
    assert bound(steps) < TRUTH


def states() -> Tensor:
    """A sequence for each of the counts, (350, 20)."""
    x = torch.zeros(len(ONES), LENGTH, dtype=torch.int64)
    for row, numbers in zip(x, ONES, strict=True):
        for phase, n in enumerate(numbers):
            row[[phase + PERIOD * j for j in range(n)]] = 1
    return x


@pytest.mark.parametrize("steps", [5, 20])
def test_the_terms_are_those_of_the_enumeration(steps: int):
    """The package's process, oracle and terms on every state; and what the paper's last step costs instead."""
    process = Categorical(LogLinear(floor=0.0, steps=steps), (1 - MEAN, MEAN))
    oracle, x_t = TokenOracle(process, PHASES, [0.2] * PERIOD), states()
    x_0 = PHASES[:1].expand(len(x_t), LENGTH)
    total = 0.0
    for i in range(steps, 1, -1):
        t, s = i / steps, (i - 1) / steps
        chance = torch.from_numpy(weights(np.array([t]))[0])
        total += float((chance * step(process, x_0, x_t, oracle(x_t, t), s, t)).sum())
    times = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64) / steps
    chance, guess = torch.from_numpy(weights(np.array([1 / steps]))[0]), oracle(x_t, 1 / steps)
    last, paper = (
        -float((chance * each(process, x_0, x_t, guess, times)).sum()) / math.log(2)
        for each in (reconstruction, kernel)
    )
    assert -total / math.log(2) - last == pytest.approx(EXACT[steps], abs=1e-5)
    assert last == pytest.approx({5: 0.15118, 20: 6.2e-4}[steps], rel=2e-3)
    flips = {1: (1 - MEAN) / steps, 0: MEAN / steps}  # P(x_1 != x_0 given x_0)
    entropy = {x: -p * math.log2(p) - (1 - p) * math.log2(1 - p) for x, p in flips.items()}
    assert paper == pytest.approx(LENGTH * (MEAN * entropy[1] + (1 - MEAN) * entropy[0]), rel=1e-9)  # H(x_1 | x_0)


def test_the_drawn_bound_of_the_heartbeat_in_both_conventions():
    process = Categorical(LogLinear(floor=0.0, steps=20), (1 - MEAN, MEAN))
    oracle, x_0 = TokenOracle(process, PHASES, [0.2] * PERIOD), PHASES.repeat(200, 1)
    ours, paper = elbo(oracle, x_0), elbo(oracle, x_0, last="kernel")
    for found, wanted in ((ours, 2.58133), (paper, 2.58072 + 2.26186)):
        bits = found.nats / math.log(2)
        assert float(bits.mean()) == pytest.approx(wanted, abs=4 * float(bits.std()) / 1000**0.5)
    assert torch.equal(ours.steps, paper.steps)
    assert paper.convention == "probability of tokens, the last step being the forward kernel"


def test_the_kernel_of_unit_variance_data_is_exact():
    """N(0, 1) is what the kernels leave as it is: with beta as variance, p is the forward process and K is -log p."""
    oracle = GaussianOracle(Gaussian(Harmonic(steps=10)), 0.0, 1.0)
    x_0 = torch.tensor([[-1.0, 0.3], [2.0, 0.5]], dtype=torch.float64).repeat(4000, 1)
    found = elbo(oracle, x_0, variance="beta", last="kernel", batch=8000).nats.reshape(4000, 2)
    wanted = -torch.distributions.Normal(0.0, 1.0).log_prob(x_0[:2]).sum(1)
    error = found.std(0) / 4000**0.5
    assert bool(((found.mean(0) - wanted).abs() < 4 * error).all())
    assert float(error.max()) < 0.03


@pytest.mark.parametrize("data", [0.1, 0.5, 1.0])
def test_the_entropy_of_a_reverse_step_lies_between_its_bounds(data: float):
    """H(x_t|x_s) + H(x_s|x_0) - H(x_t|x_0) <= H(x_s|x_t) <= H(x_t|x_s) for Gaussian mixtures of unit variance:
    x_0 = m + noise of variance `data`, m = +-sqrt(1 - data); H(x_s|x_t) from the joint law on a grid.
    """
    bars = 1 - np.arange(1, 9) / 8.5
    spread = math.sqrt(1 - data)
    for bar_s, bar_t in pairwise(bars.tolist()):
        beta = 1 - bar_t / bar_s
        upper = entropy(beta)
        lower = upper + entropy(1 - bar_s) - entropy(1 - bar_t)
        middle = mixed(bar_s, spread, data) + upper - mixed(bar_t, spread, data)  # H(x_s|x_t) by Bayes
        assert lower - 1e-6 <= middle <= upper + 1e-6
        if data == 1.0:
            assert middle == pytest.approx(upper, abs=1e-6)  # the law does not change: both directions are alike


def entropy(variance: float) -> float:
    return 0.5 * math.log(2 * math.pi * math.e * variance)


def mixed(bar: float, spread: float, data: float) -> float:
    """The entropy of x at this alpha-bar, by quadrature."""
    x = np.linspace(-9, 9, 20_001)
    mean, var = math.sqrt(bar) * spread, bar * data + 1 - bar
    bumps = np.stack([np.exp(-((x - m) ** 2) / (2 * var)) for m in (-mean, mean)])
    p = bumps.mean(0) / math.sqrt(2 * math.pi * var)
    return float(-(p[p > 0] * np.log(p[p > 0])).sum() * (x[1] - x[0]))


def test_betas_that_erase_the_same_share_in_every_step():
    for schedule in (Harmonic(steps=40), LogLinear(floor=0.0, steps=40)):
        t = torch.arange(1, 41, dtype=torch.float64) / 40
        left = schedule.alpha(t) ** (2 if isinstance(schedule, Harmonic) else 1)
        torch.testing.assert_close(left, 1 - t, rtol=0, atol=1e-12)
        kept = left / torch.cat([torch.ones(1, dtype=torch.float64), left[:-1]])
        torch.testing.assert_close(1 - kept, 1 / (40 - torch.arange(40, dtype=torch.float64)), rtol=0, atol=1e-10)


def test_the_heartbeat_is_five_sequences():
    data = Heartbeat(count=5000).load()
    assert (data.kind, data.vocabulary, data.shape) == ("tokens", 2, (20,))
    found, numbers = np.unique(data.x, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, PHASES.numpy()[::-1])
    assert numbers.min() > 900
    assert float(np.asarray(data.x).mean()) == MEAN
    np.testing.assert_array_equal(data.x, Heartbeat(count=5000).load().x)
    assert not np.array_equal(data.x, Heartbeat(count=5000, seed=1).load().x)
