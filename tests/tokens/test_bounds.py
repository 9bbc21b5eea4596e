"""Bounds of tokens: objectives that are the same bound, models whose probabilities sum to 1, and shared marginals."""

import math
from itertools import permutations, product
from typing import Any

import pytest
import torch
from sums import Net, moments, network
from torch import Tensor

from undiffuse.core.continuous_time_bound import rate
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.joint import Joint
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.heads.token_outputs import TokenHead, subs
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import TokenOracle
from undiffuse.core.process import transition_matrices
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.product import Product
from undiffuse.core.process.transitions import Transitions
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.likelihood import continuous, elbo
from undiffuse.objectives import Denoising, Elbo, ScoreEntropy
from undiffuse.schedules import JSD, ContinuousCosine, LinearBeta, LogLinear, TokenCosine

EVERY = torch.arange(3)[:, None]
PAIRS = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
JOINT = torch.tensor([0.4, 0.1, 0.1, 0.4], dtype=torch.float64)


@pytest.mark.parametrize("schedule", [LogLinear(), ContinuousCosine()], ids=repr)
def test_mdlm_md4_and_sedd_are_one_loss(schedule: Schedule):
    """Their published formulas, values and gradients, for the same draws of t and of masks."""
    process = Categorical(schedule, mask(4))
    denoiser = network(process, "subs")
    weights: Any = denoiser.network.table
    x = torch.cartesian_prod(*[torch.arange(3)] * 3)
    t = torch.linspace(0.05, 0.95, 27, dtype=torch.float64)
    x_t = process.marginal(x, t).sample(Random(3))
    masked = x_t == 3
    logits = denoiser.network(x_t, schedule.index(t).float())[..., :3]
    chances = logits.log_softmax(-1).gather(-1, x[..., None])[..., 0]
    slope = t.clone().requires_grad_()
    total = -schedule.alpha(slope).log()  # MDLM's sigma(t), alpha = e^-sigma
    (rise,) = torch.autograd.grad(total.sum(), slope)
    mdlm = -(rise / (total.detach().exp() - 1)) * (masked * chances).sum(1)  # arXiv:2406.07524, eq. 10
    alpha = schedule.alpha(t)
    md4 = (-rise * alpha / (1 - alpha)) * (masked * chances).sum(1)  # arXiv:2406.04329, eq. 5: alpha'/(1 - alpha) log
    # SEDD, arXiv:2310.16834, eq. 5 with s_y = e^-sigma/(1 - e^-sigma) p(y), Q = 1 from y to the mask, times sigma'
    odds = (-total).exp() / (1 - (-total).exp())
    s = odds[:, None, None] * logits.softmax(-1)
    r = odds[:, None, None] * torch.nn.functional.one_hot(x, 3)
    entropy = (s - r * torch.where(r > 0, s, 1.0).log()).sum(-1) + odds[:, None] * (odds.log()[:, None] - 1)
    sedd = rise * (masked * entropy).sum(1)
    found = {
        "rate": rate(process, x, x_t, denoiser(x_t, t), t),
        "score entropy": 3 * ScoreEntropy().at(t, denoiser, Batch(x), Random(3)),
        "cross-entropy": 3 * Denoising("unmasking").at(t, denoiser, Batch(x), Random(3)),
        "elbo": 3 * math.log(2) * Elbo().at(t, denoiser, Batch(x), Random(3)),
        "md4": md4,
        "sedd": sedd,
    }
    (wanted,) = torch.autograd.grad(mdlm.sum(), weights, retain_graph=True)
    for name, losses in found.items():
        torch.testing.assert_close(losses, mdlm, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
        (slope_of,) = torch.autograd.grad(losses.sum(), weights, retain_graph=True)
        torch.testing.assert_close(slope_of, wanted, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("noise", [uniform(3), (0.2, 0.5, 0.3)], ids=str)
@pytest.mark.parametrize("output", ["probabilities", "plug_in", "ratios"])
def test_score_entropy_is_the_bound_in_continuous_time_of_any_noise(noise: Any, output: str):
    denoiser = network(Categorical(LogLinear(), noise), output)
    x = torch.cartesian_prod(*[torch.arange(3)] * 3)
    t = torch.linspace(0.05, 0.95, 27, dtype=torch.float64)
    score, bound = ScoreEntropy(), Elbo()
    both = [score.at(t, denoiser, Batch(x), Random(3)), math.log(2) * bound.at(t, denoiser, Batch(x), Random(3))]
    torch.testing.assert_close(both[0], both[1], rtol=1e-10, atol=1e-10)
    table: Any = denoiser.network.table
    slopes = [torch.autograd.grad(b.sum(), table)[0] for b in both]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-9, atol=1e-9)


@torch.no_grad()
def chain(denoiser: Denoiser, length: int) -> tuple[Tensor, Tensor]:
    """All sequences, and the probability of each under the model's own chain of steps, by sums over all its ways."""
    process: Any = denoiser.process
    steps, size = process.schedule.steps, process.vocabulary
    states = torch.tensor(list(product(range(size), repeat=length)))
    law = process.prior(states.shape).log_each(states).sum(1).exp()
    for i in range(steps, 0, -1):
        moves = process.bridge(states, denoiser(states, i / steps), (i - 1) / steps, i / steps).mean
        both = torch.stack([moves[:, place, states[:, place]] for place in range(length)]).prod(0)  # (x_t, x_s)
        law = law @ both
    return states, law


CHAINS: dict[str, Any] = {
    "uniform": (Categorical(TokenCosine(steps=3), uniform(3)), "plug_in"),
    "unigram": (Categorical(TokenCosine(steps=3), (0.2, 0.5, 0.3)), "ratios"),
    "mask": (Categorical(JSD(3), mask(4)), "subs"),
    "gaussian": (
        Transitions(LinearBeta(3, 0.3, 0.9), transition_matrices.gaussian(LinearBeta(3, 0.3, 0.9), 3)),
        "probabilities",
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_models_probabilities_sum_to_1_and_its_bound_is_one(name: str):
    """A random network: all 27 sequences together have probability 1, and the bound of each is above -log p."""
    process, output = CHAINS[name]
    denoiser = network(process, output)
    states, law = chain(denoiser, 3)
    data, nats = (states < 3).all(1), -law.log()
    assert float(law.sum()) == pytest.approx(1, abs=1e-12)
    assert float(law[data].sum()) == pytest.approx(1, abs=1e-12)
    found = elbo(denoiser, states[data], draws=40).nats
    error = elbo(denoiser, states[data], draws=40, seed=1).draw_error
    assert bool((found >= nats[data] - 5 * error).all())
    assert float(found.mean()) > float(nats[data].mean())


def test_masks_lifted_one_at_a_time_have_an_exact_likelihood_in_any_order():
    """p(x) = prod p(x_l given what is seen): a law for each order, and the bound is the mean over orders."""
    process = Categorical(LogLinear(0.0), mask(4))
    denoiser = network(process, "subs")
    x = torch.cartesian_prod(*[torch.arange(3)] * 3)
    found: list[Tensor] = []
    for order in permutations(range(3)):
        seen, nats = torch.full_like(x, 3), torch.zeros(27, dtype=torch.float64)
        for place in order:
            nats = nats - denoiser(seen, torch.tensor(1.0)).log_each(x)[:, place]
            seen = seen.clone()
            seen[:, place] = x[:, place]
        assert float((-nats).exp().sum().detach()) == pytest.approx(1, abs=1e-12)
        found.append(nats)
    net: Any = denoiser.network
    timeless = Predictor(_Timeless(net), process, TokenHead("subs", 3))
    uniformly = torch.full((27,), 1 / 27, dtype=torch.float64)
    assert moments(timeless, x, uniformly) == pytest.approx(float(torch.stack(found).mean().detach()), abs=1e-3)


class _Timeless(torch.nn.Module):
    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        return self.net(x, torch.full_like(c_time, 999.0))


def test_one_step_of_the_objective_is_that_step_of_the_bound():
    """On a table: T KL at each t, the last step's being the reconstruction; cross_entropy adds the belief's own."""
    for process, output in CHAINS.values():
        denoiser, n = network(process, output), process.schedule.steps
        x = torch.cartesian_prod(*[torch.arange(3)] * 3)
        for i in range(1, n + 1):
            t = torch.full((27,), i / n, dtype=torch.float64)
            found = Elbo().at(t - 0.1, denoiser, Batch(x), Random(2))  # on the way to i/n
            x_t = process.marginal(x, t).sample(Random(2))
            guess = denoiser(x_t, t)
            believed = process.bridge(x_t, guess, (i - 1) / n, i / n)
            wanted = n * process.bridge(x_t, process.point(x), (i - 1) / n, i / n).kl(believed)
            torch.testing.assert_close(found, wanted / (3 * math.log(2)))
            if i == 1:
                torch.testing.assert_close(wanted, -n * believed.log_prob(x))
            more = Elbo(cross_entropy=2.0).at(t, denoiser, Batch(x), Random(2)) - found
            torch.testing.assert_close(more, 2 * guess.error(x) / (3 * math.log(2)))


def test_weighted_cross_entropy_is_the_bound_of_steps_too():
    process = Categorical(TokenCosine(steps=5), mask(4))
    denoiser, x = network(process, "subs"), torch.cartesian_prod(*[torch.arange(3)] * 3)
    t = ((torch.arange(27) % 5) + 1).double() / 5
    found = Denoising("unmasking").at(t, denoiser, Batch(x), Random(2))
    torch.testing.assert_close(found, math.log(2) * Elbo().at(t, denoiser, Batch(x), Random(2)), rtol=1e-10, atol=1e-10)


def test_the_integral_is_the_bound_of_many_steps():
    process = Categorical(LogLinear(0.0), mask(3))
    oracle = TokenOracle(process, PAIRS, JOINT)
    x = oracle.draw(2000, Random(0))
    found = continuous(oracle, x, points=8)
    entropy = -float((JOINT * JOINT.log()).sum())
    exact = -JOINT.log()[x[:, 0] * 2 + x[:, 1]]  # of each datum, which the bound of each need not be
    spread = float((found.nats - exact).std()) / 2000**0.5
    assert float((found.nats - exact).mean()) == pytest.approx(0, abs=4.5 * spread)
    assert entropy == pytest.approx(1.193550, abs=1e-6)
    assert found.convention == "probability of tokens"


@pytest.mark.parametrize("noise", [uniform(3), mask(4)], ids=str)
def test_ddim_and_ancestral_share_their_marginals(noise: Any):
    """From q(x_t) of any data, exactly: averaged over it, both steps give each token its law at s."""
    process = Categorical(LogLinear(), noise)
    x, size = torch.cartesian_prod(*[torch.arange(3)] * 3), len(noise)
    data = Random(0).uniform((27,)).double()
    data = data / data.sum()
    oracle = TokenOracle(process, x, data)
    noisy = torch.tensor(list(product(range(size), repeat=3)))
    for s, t in [(0.2, 0.7), (0.0, 0.4), (0.5, 1.0)]:
        law = (data[:, None] * process.marginal(x, t).mean[:, torch.arange(3), noisy].prod(-1)).sum(0)
        wanted = (data[:, None, None] * process.marginal(x, s).mean).sum(0)
        guess = oracle(noisy, t)
        for keep in (None, *(process.keep(s, t, noisy, eta) for eta in (0.0, 0.5, 1.0))):
            found = (law[:, None, None] * process.bridge(noisy, guess, s, t, keep).mean).sum(0)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_a_product_of_independent_parts_is_the_parts():
    first, second = Categorical(JSD(4), mask(4)), CHAINS["gaussian"][0]
    both, s, t = Product({"a": first, "b": second}), 0.0, 1.0
    x = {"a": EVERY, "b": EVERY.flip(0)}
    x_t = {"a": torch.full((3, 1), 3), "b": EVERY}
    guess = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log().expand(3, 1, 3)
    guesses = {"a": subs(torch.zeros(3, 1, 4).double(), x_t["a"], t, first, 3), "b": Tokens(guess)}
    joint = both.bridge(x_t, both.point(x), s, t).kl(both.bridge(x_t, Joint(guesses), s, t))
    parts = [
        part.bridge(x_t[k], part.point(x[k]), s, t).kl(part.bridge(x_t[k], guesses[k], s, t))
        for k, part in both.parts.items()
    ]
    torch.testing.assert_close(joint, parts[0] + parts[1])
    apart = sum(part.marginal(x[k], t).log_prob(x_t[k]) for k, part in both.parts.items())
    torch.testing.assert_close(both.marginal(x, t).log_prob(x_t), apart)
