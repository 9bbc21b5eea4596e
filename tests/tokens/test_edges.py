"""The ends of what tokens can be: other integers, the last moment, one step, a mask that is a symbol of data."""

import math
from typing import Any

import pytest
import torch
from sums import network

from undiffuse import likelihood
from undiffuse.core.continuous_time_bound import rate
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.errors import Refused
from undiffuse.core.heads.token_outputs import plug_in
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import TokenOracle
from undiffuse.core.process import transition_matrices
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.transitions import Transitions
from undiffuse.core.random import Random
from undiffuse.objectives import Denoising, Elbo, ScoreEntropy
from undiffuse.objectives.drawn_term import steps
from undiffuse.schedules import JSD, Cosine, LogLinear, MutualInformation, TokenCosine

X = torch.tensor([[0, 2, 1], [1, 1, 0], [2, 0, 0]])


@pytest.mark.each("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
@pytest.mark.each("process", [
    Categorical(JSD(4), mask(4)),
    Categorical(JSD(4), uniform(3)),
    Transitions(JSD(4), transition_matrices.towards(JSD(4), uniform(3))),
], ids=["mask", "uniform", "matrices"])  # fmt: skip
def test_tokens_of_any_integers_are_those_of_int64(process: Any, dtype: torch.dtype):
    """In particular uint8, which torch would take for a mask of booleans where it indexes."""
    model = network(process, "plug_in")

    def said(x: torch.Tensor) -> list[torch.Tensor]:
        guess = model(x, 0.5)
        return [
            process.marginal(x, 0.5).log_prob(x),
            process.likelihood(x, 0.5),
            process.bridge(x, process.point(x), 0.25, 0.5).mean,
            guess.log_prob(x),
            guess.mean,
            Elbo().loss(model, Batch(x), Random(0)),
            Denoising("data").loss(model, Batch(x), Random(0)),
            likelihood.elbo(model, x).nats,
        ]

    for found, wanted in zip(said(X.to(dtype)), said(X), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_the_rate_takes_any_integers():
    process, t = Categorical(LogLinear(0.0), uniform(3)), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    wanted = rate(process, X, X.flip(0), network(process, "plug_in")(X.flip(0), t), t)
    small = rate(process, X.byte(), X.flip(0).byte(), network(process, "plug_in")(X.flip(0), t), t)
    torch.testing.assert_close(small, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("schedule", [JSD(3), TokenCosine(), LogLinear(0.0)], ids=repr)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_where_nothing_is_left_what_is_there_is_kept(schedule: Any, eta: float):
    process = Categorical(schedule, uniform(3))
    assert process.keep(1.0, 1.0, X, eta).expand(3, 3).tolist() == [[1.0] * 3] * 3


def test_one_step_of_information_is_all_of_it():
    schedule = MutualInformation(steps=1).for_tokens((0.5, 0.3, 0.2), uniform(3))
    assert schedule.alpha(torch.tensor([0.0, 1.0])).tolist() == [1.0, 0.0]


def test_a_mask_that_is_a_symbol_of_data_may_be_there_from_the_start():
    """Bayes by hand: P(x_0 = mask given that it is seen) = p/(p + (1 - p) sigma), which depends on the time."""
    process = Categorical(LogLinear(0.0), (0.0, 0.0, 1.0))
    oracle = TokenOracle(process, torch.tensor([[0], [2]]), [0.75, 0.25])
    for t in (0.1, 0.6):
        assert float(oracle(torch.tensor([[2]]), t).mean[0, 0, 2]) == pytest.approx(0.25 / (0.25 + 0.75 * t))
    assert not oracle.timeless


def test_score_entropy_is_a_number_where_nothing_is_left():
    """On a table with alpha(1) = 0 one step in T asks it there; of a mask it is the weighted cross-entropy."""
    process = Categorical(JSD(4), mask(4))
    model = network(process, "subs")
    for t in (0.5, 1.0):
        times = torch.full((3,), t, dtype=torch.float64)
        wanted = Denoising("unmasking").at(times, model, Batch(X), Random(0))
        torch.testing.assert_close(ScoreEntropy().at(times, model, Batch(X), Random(0)), wanted, rtol=1e-5, atol=1e-5)
    free = Categorical(JSD(4), uniform(3))
    found = ScoreEntropy().at(torch.ones(3, dtype=torch.float64), network(free, "plug_in"), Batch(X), Random(0))
    assert float(found.abs().max().detach()) < 1e-4  # q(x_1) is alike for all data: nothing more is lost there


def test_noise_that_is_no_number_or_negative_is_refused():
    for noise, least in (((math.nan, 0.5, 0.5), "nan"), ((1.5, -0.5), "-0.5")):
        with pytest.raises(Refused, match=f"the least of them {least}"):
            Categorical(LogLinear(), noise)
    with pytest.raises(Refused, match=r"got none, of torch.float32"):
        Categorical(LogLinear(), uniform(3)).marginal(torch.zeros(0, 3), 0.5)


def test_a_mask_in_the_data_is_refused_by_every_objective():
    process = Categorical(LogLinear(0.0), mask(4))
    model = network(process, "subs")
    for objective in (Elbo(), Denoising("unmasking"), ScoreEntropy()):
        with pytest.raises(Refused, match=r"the data have the token 3, and the symbols of data are 0 \.\.\. 2: a mask"):
            objective.loss(model, Batch(X + 1), Random(0))


@pytest.mark.parametrize("step", [100, 130, 150])
def test_a_guess_that_is_sure_and_wrong_has_a_finite_bound_and_gradient(step: int):
    """The law of levels far away is too small for any float there, and no reason for a bound without end."""
    schedule, levels = Cosine(steps=500), 17
    process = Transitions(schedule, transition_matrices.gaussian(schedule, levels))
    before, now = torch.tensor([step - 1, step], dtype=torch.float64) / 500
    x_0 = torch.arange(levels).repeat(50, 1)
    x_t = process.marginal(x_0, now).sample(Random(step))
    sure = (60 * torch.randn(50, levels, levels, generator=torch.Generator().manual_seed(step))).requires_grad_()
    guess = process.bridge(x_t, plug_in(sure, x_t, now, process, levels), before, now)
    cost = process.bridge(x_t, process.point(x_0), before, now).kl(guess)
    cost.sum().backward()
    assert bool(cost.isfinite().all())
    assert bool((cost > 0).all())
    assert sure.grad is not None
    assert bool(sure.grad.isfinite().all())


def test_what_is_possible_and_held_impossible_costs_without_end():
    """The other side: a chance that a float can tell from nothing is not overlooked."""
    half, sure = Tokens(torch.tensor([[[0.5, 0.5]]]).log()), Tokens(torch.tensor([[[0.0, -math.inf]]]))
    rare = Tokens(torch.tensor([[[1 - 1e-12, 1e-12]]], dtype=torch.float64).log())
    assert half.kl(sure).tolist() == [math.inf]
    assert rare.kl(sure).tolist() == [math.inf]
    assert sure.kl(half).tolist() == [pytest.approx(math.log(2))]


def test_matrices_and_noise_in_float32_are_laws_all_the_same():
    """Rows that float32 rounds to 1 + 1e-6 are normalised in float64; one that is further off is refused by its row."""
    rows = (3 * torch.randn(20, 257, 257, generator=torch.Generator().manual_seed(0))).softmax(-1)
    rows = rows * (1 + 5e-6)
    process = Transitions(JSD(20), rows)
    wanted = rows.double() / rows.double().sum(-1, keepdim=True)
    torch.testing.assert_close(process.matrices, wanted, rtol=1e-14, atol=0)
    assert abs(sum(process.noise_end) - 1) < 1e-12  # type: ignore[arg-type]
    less = torch.tensor([[1.0 + 5e-8, -5e-8], [0.0, 1.0]])  # as 1 - sum leaves it
    assert float(Transitions(JSD(2), less).matrices.min()) == 0
    many = torch.full((60_000,), 1 / 60_000) * (1 + 2e-6)
    assert abs(sum(Categorical(JSD(20), many).noise) - 1) < 1e-12  # type: ignore[arg-type]
    rows[3, 5] *= 1.001
    with pytest.raises(Refused, match=r"row 5 of the transition matrix of step 4 sums to 1\.0010"):
        Transitions(JSD(20), rows)


def test_a_time_in_float32_is_its_own_step_in_matrices_and_in_bounds():
    """i/1000 in float32 lies a little above or below i/1000."""
    process = Transitions(JSD(1000), transition_matrices.towards(JSD(1000), uniform(3)))
    i = torch.arange(1001)
    times = (i.double() / 1000).float()
    x = torch.zeros(1001, 1, dtype=torch.int64)
    assert torch.equal(process.marginal(x, times).mean, process.marginal(x, i.double() / 1000).mean)
    for t in (times, i.float() / 1000, 1 - (1000 - i).float() / 1000):
        assert torch.equal(steps(process.schedule, t[1:], "it"), i[1:].double() / 1000)
