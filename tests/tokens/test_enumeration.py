"""Every token process against sums over all sequences of three symbols and length three, written out in plain loops."""

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.core.oracles import TokenOracle
from undiffuse.core.process import transition_matrices
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.transitions import Transitions
from undiffuse.likelihood.terms import prior, reconstruction, step
from undiffuse.schedules import JSD, LinearBeta, LogLinear, MutualInformation, TokenCosine

T, K, L = 4, 3, 3
DATA = np.random.default_rng(0).dirichlet(np.full(K**L, 0.7))  # of the 27 sequences, in the order of `product`
SEQUENCES = torch.tensor(list(product(range(K), repeat=L)))
OWN = np.random.default_rng(1).dirichlet(np.ones(K), size=(T, K))  # a person's own matrices
BETA = LinearBeta(steps=T, beta_start=0.1, beta_end=0.9)
SPOTS = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)


def by_noise(schedule: Any, noise: Any) -> np.ndarray:
    """k I + (1 - k) 1 noise^T of each step, k = alpha_i/alpha_{i-1}."""
    alpha = schedule.alpha(torch.arange(T + 1, dtype=torch.float64) / T).numpy()
    return np.stack([b / a * np.eye(len(noise)) + (1 - b / a) * np.array(noise) for a, b in pairwise(alpha)])


def by_gauss() -> np.ndarray:
    alpha_bar = np.concatenate([[1.0], BETA.table()])
    found = np.zeros((T, K, K))
    for i in range(T):
        beta = 1 - alpha_bar[i + 1] / alpha_bar[i]
        whole = sum(np.exp(-4 * n**2 / ((K - 1) ** 2 * beta)) for n in range(1 - K, K))
        for a, b in product(range(K), repeat=2):
            found[i, a, b] = 0 if a == b else np.exp(-4 * (a - b) ** 2 / ((K - 1) ** 2 * beta)) / whole
        found[i] += np.diag(1 - found[i].sum(1))
    return found


def by_graph() -> np.ndarray:
    """1's nearest is 0, 0's is 1 and 2's is 1: A + A^T over 2."""
    rates = torch.tensor([[-1.0, 1.0, 0.0], [1.0, -1.5, 0.5], [0.0, 0.5, -0.5]], dtype=torch.float64)
    alpha = BETA.alpha(torch.arange(T + 1, dtype=torch.float64) / T)
    return torch.stack([torch.matrix_exp(rates * (a / b).log()) for a, b in pairwise(alpha)]).numpy()


INFORMED = MutualInformation(steps=T, frequencies=(0.5, 0.3, 0.2), noise=(0.2, 0.5, 0.3))
CASES: dict[str, tuple[Any, np.ndarray]] = {
    "uniform": (Categorical(TokenCosine(steps=T), uniform(3)), by_noise(TokenCosine(steps=T), uniform(3))),
    "mask": (Categorical(JSD(T), mask(4)), by_noise(JSD(T), mask(4))),
    "unigram": (Categorical(INFORMED, (0.2, 0.5, 0.3)), by_noise(INFORMED, (0.2, 0.5, 0.3))),
    "hole": (Categorical(LogLinear(0.0, T), (0.5, 0.5, 0.0)), by_noise(LogLinear(0.0, T), (0.5, 0.5, 0.0))),
    "gaussian": (Transitions(BETA, transition_matrices.gaussian(BETA, K)), by_gauss()),
    "nearest": (Transitions(BETA, transition_matrices.nearest(BETA, SPOTS, 1)), by_graph()),
    "matrices": (Transitions(BETA, torch.from_numpy(OWN), (0.2, 0.3, 0.5)), OWN),
    "one matrix": (Transitions(BETA, torch.from_numpy(OWN[0])), np.stack([OWN[0]] * T)),
    "mask, matrices": (Transitions(JSD(T), transition_matrices.towards(JSD(T), mask(4))), by_noise(JSD(T), mask(4))),
}


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[Any, np.ndarray, np.ndarray]:
    """The process, its matrices of one step, and those of 0 ... T steps, by plain products."""
    process, steps = CASES[request.param]
    until = [np.eye(steps.shape[1])]
    for matrix in steps:
        until.append(until[-1] @ matrix)
    return process, steps, np.stack(until)


def between(steps: np.ndarray, s: int, t: int) -> np.ndarray:
    found = np.eye(steps.shape[1])
    for matrix in steps[s:t]:
        found = found @ matrix
    return found


def near(found: Tensor, wanted: Any) -> None:
    torch.testing.assert_close(found, torch.as_tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-10)


def test_marginals_are_products_of_the_steps(case: Any):
    process, _, until = case
    every = torch.arange(K)[:, None]
    for i in range(T + 1):
        near(process.marginal(every, i / T).mean[:, 0], until[i][:K])
        near(process.likelihood(torch.arange(process.vocabulary)[:, None], i / T)[:, 0], until[i].T)
    times = torch.tensor([0.25, 1.0, 0.5], dtype=torch.float64)
    near(process.marginal(every, times).mean[:, 0], np.stack([until[i][k] for k, i in enumerate((1, 4, 2))]))


def test_posteriors_are_bayes_rule_between_any_two_times(case: Any):
    process, steps, until = case
    for s, t in [(i, j) for i in range(T + 1) for j in range(i + 1, T + 1)]:
        forward = between(steps, s, t)
        for k in range(K):
            there = np.flatnonzero(until[t][k] > 0)
            found = process.bridge(
                torch.tensor(there)[:, None], process.point(torch.full((len(there), 1), k)), s / T, t / T
            )
            wanted = [until[s][k] * forward[:, x] / until[t][k, x] for x in there]
            near(found.mean[:, 0], np.stack(wanted))


def test_times_may_differ_between_the_samples(case: Any):
    process, _, _ = case
    x = SEQUENCES[[3, 14, 25, 7]]
    s, t = (torch.tensor(v, dtype=torch.float64) for v in ([0.0, 0.25, 0.25, 0.5], [0.5, 0.5, 0.75, 0.5]))
    x_t = process.marginal(x, t).mean.argmax(-1)
    whole = process.bridge(x_t, process.point(x), s, t).mean
    for i in range(4):
        row = slice(i, i + 1)
        near(whole[row], process.bridge(x_t[row], process.point(x[row]), s[i], t[i]).mean)


def test_the_bound_is_that_of_plain_sums(case: Any):
    """With the exact posterior of the data: prior + steps + reconstruction, in expectation over data and noise."""
    process, steps, until = case
    size = process.vocabulary
    oracle = TokenOracle(process, SEQUENCES, torch.from_numpy(DATA))
    noisy = torch.tensor(list(product(range(size), repeat=L)))
    total, wanted = 0.0, 0.0
    for i in range(1, T + 1):
        chance = np.ones((len(SEQUENCES), len(noisy)))  # q(x_t given x_0)
        for place in range(L):
            chance *= until[i][SEQUENCES[:, place].numpy()][:, noisy[:, place].numpy()]
        joint = DATA[:, None] * chance
        guess = np.stack(
            [[joint[SEQUENCES[:, p] == k].sum(0) for k in range(K)] for p in range(L)]
        )  # (L, K, noisy), unnormalised p(x_0^l = k, x_t)
        guess = guess / np.maximum(guess.sum(1, keepdims=True), 1e-300)
        possible = joint.sum(0) > 0
        forward = steps[i - 1]
        for place in range(L):
            here = noisy[:, place].numpy()
            back = np.zeros((K, len(noisy), size))  # q(x_s given x_t, x_0 = k)
            for k in range(K):
                below = until[i][k, here]
                ratio = np.divide(1.0, below, out=np.zeros_like(below), where=below > 0)
                back[k] = until[i - 1][k] * forward.T[here] * ratio[:, None]
            mixed = np.einsum("kn,knx->nx", guess[place], back)
            for k in range(K):
                ratio = np.log(np.divide(back[k], mixed, out=np.ones_like(mixed), where=(back[k] > 0) & (mixed > 0)))
                wanted += float((joint[SEQUENCES[:, place] == k].sum(0) * (back[k] * ratio).sum(1)).sum())
        x_t = noisy[torch.from_numpy(possible)]
        told = oracle(x_t, i / T)
        for row, x_0 in enumerate(SEQUENCES):
            weight = torch.from_numpy(joint[row][possible])
            use = weight > 0
            x, here, part = x_0.expand(len(x_t), L)[use], x_t[use], type(told)(told.log_probs[use])
            nats = (
                -reconstruction(process, x, here, part, torch.tensor([2 / T, 1 / T, 0.0]).double())
                if i == 1
                else step(process, x, here, part, (i - 1) / T, i / T)
            )
            total += float((weight[use] * nats).sum())
    assert total == pytest.approx(wanted, abs=1e-10)
    end = torch.as_tensor(process.prior((1, 1)).mean[0, 0]).numpy()
    rows = until[T][:K]
    apart = np.where(rows > 0, rows * np.log(np.where(rows > 0, rows, 1) / np.where(end > 0, end, 1)), 0).sum(1)
    near(prior(process, SEQUENCES, torch.tensor(1.0).double()), apart[SEQUENCES.numpy()].sum(1))
    entropy = -float((DATA * np.log(DATA)).sum())
    left = sum(float(DATA[n] * apart[SEQUENCES[n].numpy()].sum()) for n in range(len(DATA)))
    assert total + left >= entropy - 1e-9


@pytest.mark.parametrize("kind", ["uniform", "mask"])
def test_matrices_towards_a_noise_vector_are_the_categorical_process(kind: str):
    noise = uniform(3) if kind == "uniform" else mask(4)
    plain, general = Categorical(JSD(T), noise), Transitions(JSD(T), transition_matrices.towards(JSD(T), noise))
    assert general.vocabulary == plain.vocabulary
    near(general.prior((1, 1)).mean, plain.prior((1, 1)).mean)
    belief = TokenOracle(plain, SEQUENCES, torch.from_numpy(DATA))(SEQUENCES, 0.75)
    near(TokenOracle(general, SEQUENCES, torch.from_numpy(DATA))(SEQUENCES, 0.75).mean, belief.mean)
    for s, t in [(0.0, 0.25), (0.25, 0.75), (0.5, 1.0)]:
        near(general.bridge(SEQUENCES, belief, s, t).mean, plain.bridge(SEQUENCES, belief, s, t).mean)


def test_every_noise_of_the_literature_is_doubly_stochastic_or_a_mask():
    for matrices in (
        transition_matrices.gaussian(LinearBeta(), 17),
        transition_matrices.nearest(
            LogLinear(0.0, 20), torch.randn(9, 2, generator=torch.Generator().manual_seed(0)), 3
        ),
        transition_matrices.towards(JSD(20), uniform(7)),
    ):
        ones = torch.ones(matrices.shape[:2], dtype=torch.float64)
        assert float(matrices.min()) >= 0
        torch.testing.assert_close(matrices.sum(-1), ones, rtol=0, atol=1e-12)
        torch.testing.assert_close(matrices.sum(-2), ones, rtol=0, atol=1e-9)
    process = Transitions(LinearBeta(), transition_matrices.gaussian(LinearBeta(), 17))
    near(process.prior((1, 1)).mean[0, 0], uniform(17))
    worst = float((process.marginal(torch.arange(17)[:, None], 1.0).mean - 1 / 17).abs().max())
    assert worst < 1e-2  # what D3PM's thousand steps leave of a level


@pytest.mark.parametrize("steps", [1, 3, 10, 1000])
def test_the_mask_has_taken_a_share_of_i_over_T_at_step_i(steps: int):  # noqa: N802
    process = Transitions(JSD(steps), transition_matrices.towards(JSD(steps), mask(3)))
    times = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    gone = process.marginal(torch.zeros(steps, 1, dtype=torch.int64), times).mean[:, 0, 2]
    torch.testing.assert_close(gone, times, rtol=0, atol=1e-12)


def test_information_falls_evenly_and_for_a_mask_that_is_jsd():
    i = torch.arange(1, T, dtype=torch.float64) / T
    share = INFORMED.information(INFORMED.alpha(i).numpy()) / INFORMED.information(np.ones(1))
    np.testing.assert_allclose(share, 1 - i.numpy(), atol=1e-10)
    masked = MutualInformation(steps=T).for_tokens((0.5, 0.3, 0.2), mask(4))
    torch.testing.assert_close(masked.sigma(i), i, rtol=0, atol=1e-12)


def test_a_time_between_two_steps_is_the_later_one():
    process = CASES["gaussian"][0]
    near(process.marginal(SEQUENCES, 0.26).mean, process.marginal(SEQUENCES, 0.5).mean)
    near(process.bridge(SEQUENCES, process.point(SEQUENCES), 0.3, 0.4).mean, process.point(SEQUENCES).mean)
