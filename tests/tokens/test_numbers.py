"""Numbers of the literature: the trap of the plug-in posterior, masks without it, and bounds in continuous time."""

import math
from typing import Any

import pytest
import torch
from sums import moments
from torch import Tensor

from undiffuse.core.continuous_time_bound import rate
from undiffuse.core.heads.token_outputs import plug_in
from undiffuse.core.oracles import TokenOracle
from undiffuse.core.process import transition_matrices
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.transitions import Transitions
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.schedules import JSD, ContinuousCosine, LogLinear, TableSchedule, TokenCosine

P = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
H = -float((P * P.log()).sum())  # 0.897946 nats
EVERY = torch.arange(3)[:, None]
PAIRS = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
JOINT = torch.tensor([0.4, 0.1, 0.1, 0.4], dtype=torch.float64)


def prior(process: Any, x: Tensor, t: Any) -> Any:
    logits = torch.nn.functional.pad(P.log(), (0, process.vocabulary - 3))
    return plug_in(logits.expand(len(x), 1, process.vocabulary), x, t, process, 3)


def posterior(process: Any, x: Tensor, t: Any) -> Any:
    return TokenOracle(process, EVERY, P)(x, t)


def plugged(process: Any, x: Tensor, t: Any) -> Any:
    """D3PM's p~ = q(x_0 given x_t): what a network learns from plain cross-entropy, put into the product form."""
    return plug_in(posterior(process, x, t).log_probs, x, t, process, 3)


def nelbo(process: Any, guess: Any) -> float:
    """The whole bound of one token from P in nats, by sums over steps, data and noise."""
    steps, size = process.schedule.steps, process.vocabulary
    rows = torch.cartesian_prod(torch.arange(1, steps + 1), torch.arange(3), torch.arange(size))
    t, x_0, x_t = rows[:, 0].double() / steps, rows[:, 1:2], rows[:, 2:3]
    s = (rows[:, 0].double() - 1) / steps
    chance = P[rows[:, 1]] * process.marginal(x_0, t).log_prob(x_t).exp()
    told = process.bridge(x_t, guess(process, x_t, t), s, t)
    kl = process.bridge(x_t, process.point(x_0), s, t).kl(told)
    ends = process.marginal(EVERY, 1.0).kl(process.prior((3, 1)))
    return float(torch.where(chance > 0, chance * kl, 0.0).sum() + (P * ends).sum())


@pytest.mark.parametrize(("steps", "wanted"), [(10, 1.293067), (100, 1.349334), (1000, 1.355152)])
def test_the_plug_in_of_the_posterior_costs_what_it_costs(steps: int, wanted: float):
    """X17: uniform noise, the cosine law. A cross-entropy-trained guess in the product form is not the bound's best."""
    process = Categorical(TokenCosine(steps=steps), uniform(3))
    assert nelbo(process, plugged) == pytest.approx(wanted, abs=1e-6)
    assert nelbo(process, prior) == pytest.approx(0.897946, abs=1e-6)
    assert nelbo(process, posterior) == pytest.approx(H, abs=1e-10)


@pytest.mark.parametrize(("x_t", "gap"), [(0, 0.017962), (1, 0.058563), (2, 0.074806)])
def test_the_gap_of_one_step(x_t: int, gap: float):
    """X17: alpha_s = .7, alpha_t = .56; KL(exact reverse || plug-in of the posterior)."""
    process, here = Categorical(TableSchedule(alpha_bars=(0.7**2, 0.56**2, 0.01)), uniform(3)), torch.tensor([[x_t]])
    s, t = 1 / 3, 2 / 3
    exact = process.bridge(here, posterior(process, here, t), s, t)
    found = process.bridge(here, plugged(process, here, t), s, t)
    assert float(exact.kl(found)) == pytest.approx(gap, abs=1e-6)
    assert float(exact.kl(process.bridge(here, prior(process, here, t), s, t))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("process", [
    *(Categorical(JSD(n), mask(4)) for n in (1, 2, 7)),
    Categorical(TokenCosine(power=2.0, steps=5), mask(4)),
    Transitions(JSD(4), transition_matrices.towards(JSD(4), mask(4))),
], ids=lambda p: f"{type(p).__name__} {p.schedule!r}"[:50])  # fmt: skip
def test_masks_have_no_plug_in_problem(process: Any):
    """X17: NELBO = H(p_0) = 0.897946 nats = 1.295462 bits at any number of steps and any schedule."""
    assert H / math.log(2) == pytest.approx(1.295462, abs=1e-6)
    for guess in (prior, posterior):
        assert nelbo(process, guess) == pytest.approx(H, abs=1e-10)


@pytest.mark.parametrize(
    "schedule", [LogLinear(0.0), ContinuousCosine(), TokenCosine(), TokenCosine(power=2.0)], ids=repr
)
def test_the_bound_of_masks_does_not_depend_on_the_schedule(schedule: Schedule):
    """X18: two tokens with joint ((.4, .1), (.1, .4)): H = 1.193550 nats = that of any order, one after the other."""
    oracle = TokenOracle(Categorical(schedule, mask(3)), PAIRS, JOINT)
    assert moments(oracle, PAIRS, JOINT) == pytest.approx(1.193550, abs=1e-6)
    rows = JOINT.reshape(2, 2)
    chain = -float((rows.sum(1) * rows.sum(1).log()).sum() + (rows * (rows / rows.sum(1, keepdim=True)).log()).sum())
    assert chain == pytest.approx(1.193550, abs=1e-6)


def test_the_bound_of_uniform_noise_in_continuous_time_is_tight_for_the_exact_belief():
    process = Categorical(LogLinear(0.0), uniform(3))
    assert moments(TokenOracle(process, EVERY, P), EVERY, P, 60) == pytest.approx(H, abs=1e-4)


@pytest.mark.parametrize("noise", [uniform(3), mask(4), (0.2, 0.5, 0.3), (0.5, 0.5, 0.0)], ids=str)
def test_the_rate_is_the_limit_of_the_steps(noise: Any):
    process, h = Categorical(LogLinear(), noise), 1e-6
    x = torch.cartesian_prod(*[torch.arange(3)] * 3)
    data = Random(0).uniform((27,)).double()
    t = torch.linspace(0.1, 0.9, 27, dtype=torch.float64)
    x_t = process.marginal(x, t).sample(Random(0))
    guess = TokenOracle(process, x, data)(x_t, t)
    step = process.bridge(x_t, process.point(x), t - h, t).kl(process.bridge(x_t, guess, t - h, t)) / h
    torch.testing.assert_close(rate(process, x, x_t, guess, t), step, rtol=1e-4, atol=1e-4)
