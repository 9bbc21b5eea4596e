"""What networks of tokens give, turned into one belief: the product form, carried tokens, levels and ratios."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.denoiser import Predictor
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.heads.ratios import believed
from undiffuse.core.heads.ratios import ratios as ratios_of
from undiffuse.core.heads.token_outputs import TokenHead, logistic, plug_in, ratios, subs
from undiffuse.core.oracles import TokenOracle
from undiffuse.core.process import transition_matrices
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.transitions import Transitions
from undiffuse.core.random import Random
from undiffuse.schedules import JSD, LinearBeta, LogLinear, TokenCosine

P = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
EVERY = torch.arange(3)[:, None]
BETA = LinearBeta(steps=10, beta_start=0.05, beta_end=0.6)
PROCESSES: dict[str, Any] = {
    "uniform": Categorical(TokenCosine(steps=10), uniform(3)),
    "unigram": Categorical(TokenCosine(steps=10), (0.2, 0.5, 0.3)),
    "mask": Categorical(JSD(10), mask(4)),
    "gaussian": Transitions(BETA, transition_matrices.gaussian(BETA, 3)),
    "mask, matrices": Transitions(JSD(10), transition_matrices.towards(JSD(10), mask(4))),
}


def logits(rows: int, size: int, seed: int = 0) -> Tensor:
    return Random(seed, torch.arange(rows)).normal((rows, 1, size), dtype=torch.float64)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=list(PROCESSES))
def test_plug_in_is_the_product_form_of_the_papers(process: Any):
    """p(x_s) ~ q(x_t given x_s) sum_k p~(k) q(x_s given k), which is another law than the average over p~."""
    size, s, t = process.vocabulary, 0.3, 0.6
    here = torch.arange(size)[:, None]
    given = logits(size, size)
    found = process.bridge(here, plug_in(given, here, t, process, 3), s, t).mean[:, 0]
    p = given[:, 0, :3].softmax(-1)
    at_s = process.marginal(EVERY, s).mean[:, 0]  # (k, x_s)
    q = process.marginal(EVERY, t).mean[:, 0]
    for x_t in range(size):
        step = torch.stack([_forward(process, x_s, s, t)[x_t] for x_s in range(size)])
        wanted = step * (p[x_t] @ at_s)
        torch.testing.assert_close(found[x_t], wanted / wanted.sum(), rtol=0, atol=1e-12)
    averaged = process.bridge(here[:3], Tokens(p[:3, None].log() if size == 3 else _wide(p[:3])), s, t).mean[:, 0]
    if bool((q > 0).all()):
        assert float((averaged - found[:3]).abs().max()) > 0.01


def _wide(p: Tensor) -> Tensor:
    return torch.cat([p, torch.zeros(3, 1, dtype=torch.float64)], 1)[:, None].log()


def _forward(process: Any, x_s: int, s: float, t: float) -> Tensor:
    """q(x_t given x_s), (vocabulary,)."""
    steps = process.schedule.steps
    if isinstance(process, Transitions):
        found = torch.eye(process.vocabulary, dtype=torch.float64)
        for matrix in process.matrices[round(s * steps) : round(t * steps)]:
            found = found @ matrix
        return found[x_s]
    a, b = (float(process.schedule.alpha(torch.tensor(u, dtype=torch.float64))) for u in (s, t))
    noise = torch.tensor(process.noise, dtype=torch.float64)
    return b / a * torch.eye(len(noise), dtype=torch.float64)[x_s] + (1 - b / a) * noise


@pytest.mark.parametrize("general", [False, True])
def test_behind_a_mask_subs_plug_in_and_ratios_are_one(general: bool):
    plain = PROCESSES["mask"]
    process, here, given = PROCESSES["mask, matrices"] if general else plain, torch.arange(4)[:, None], logits(4, 4)
    carried = subs(given, here, 0.6, plain, 3)
    plugged = plug_in(given, here, 0.6, process, 3)
    torch.testing.assert_close(plugged.mean, carried.mean, rtol=0, atol=1e-12)
    assert torch.equal(carried.mean[:3, 0], torch.eye(4, dtype=torch.float64)[:3])  # carried over, with certainty
    torch.testing.assert_close(carried.mean[3, 0, :3], given[3, 0, :3].softmax(-1))
    assert float(carried.mean[3, 0, 3]) == 0  # the mask is never predicted
    torch.testing.assert_close(ratios(given, here, 0.6, plain, 3).mean, carried.mean)


def test_what_is_carried_is_one_belief_however_it_is_asked():
    process, n = PROCESSES["mask"], 5000
    here = torch.tensor([[0, 3, 2, 3]])
    carried: Any = subs(logits(4, 4).reshape(1, 4, 4), here, 0.6, process, 3)
    whole = Tokens(carried.log_probs)
    for k in range(4):
        x = torch.full((1, 4), k)
        assert torch.equal(carried.log_each(x), whole.log_each(x))
    many = carried.guess.log_probs.expand(n, 4, 3)
    drawn = type(carried)(here.expand(n, 4), Tokens(many), 3, 4).sample(Random(0, torch.arange(n)))
    share = torch.nn.functional.one_hot(drawn, 4).double().mean(0)
    torch.testing.assert_close(share, whole.mean[0], rtol=0, atol=4.5 / (2 * n**0.5))
    assert torch.equal(carried.rows(slice(0, 1)).log_probs, carried.log_probs)


def test_no_gradient_of_what_is_carried_is_lost_or_infinite():
    process, given = PROCESSES["mask"], logits(4, 4).requires_grad_()
    here = torch.tensor([[0], [3], [2], [3]])
    belief = subs(given, here, 0.6, process, 3)
    belief.error(torch.tensor([[0], [1], [2], [0]])).sum().backward()
    assert given.grad is not None
    wanted = given.detach()[..., :3].softmax(-1) - torch.nn.functional.one_hot(torch.tensor([[0], [1], [2], [0]]), 3)
    torch.testing.assert_close(given.grad[[1, 3], :, :3], wanted[[1, 3]])
    assert float(given.grad[[0, 2]].abs().sum()) == 0


@pytest.mark.parametrize("name", ["uniform", "unigram", "gaussian"])
def test_ratios_are_those_of_the_noisy_law_and_lead_back_to_the_belief(name: str):
    """r(y) = p_t(..., y, ...)/p_t(x_t) with two other tokens as they are, by sums over all 27 sequences."""
    process, t = PROCESSES[name], 0.4
    x = torch.cartesian_prod(*[torch.arange(3)] * 3)
    data = Random(0).uniform((27,)).double()
    data = data / data.sum()
    belief = TokenOracle(process, x, data)(x, t)
    found = ratios_of(process, x, belief, t)
    law = (data[:, None] * process.marginal(x, t).mean[:, torch.arange(3), x].prod(-1)).sum(0)
    for n, place, y in [(0, 0, 1), (13, 1, 2), (20, 2, 0), (26, 0, 2)]:
        other = x[n].clone()
        other[place] = y
        at = int((x == other).all(1).nonzero()[0])
        assert float(found[n, place, y]) == pytest.approx(float(law[at] / law[n]), rel=1e-10)
    if name != "gaussian":
        again = believed(process, x, found.log() + 3 * torch.nn.functional.one_hot(x, 3), t)  # its own is not looked at
        torch.testing.assert_close(again.mean, belief.mean, rtol=0, atol=1e-10)


def test_ratios_that_no_belief_has_stay_probabilities_with_a_slope():
    process = PROCESSES["uniform"]
    given = torch.tensor([[[0.0, -9.0, 5.0]]], dtype=torch.float64, requires_grad=True)
    belief = believed(process, torch.tensor([[0]]), given, 0.7)
    assert bool((belief.mean > 0).all())
    belief.error(torch.tensor([[1]])).sum().backward()
    assert given.grad is not None
    assert bool(given.grad.isfinite().all())
    assert float(given.grad[0, 0, 1]) < 0


def test_the_logistic_law_is_the_papers_and_knows_where_it_stands():
    """Differences of the logistic's distribution function around tanh(x_t + mean), then the product form."""
    levels = 5
    process = Transitions(BETA, transition_matrices.gaussian(BETA, levels))
    x_t = torch.tensor([[0, 3]])
    given = torch.tensor([[[0.2, 0.5], [-0.4, -1.0]]], dtype=torch.float64)
    found = logistic(given, x_t, 0.5, process, levels)
    for place in range(2):
        value = -1 + 2 * int(x_t[0, place]) / (levels - 1)
        centre, scale = math.tanh(value + float(given[0, place, 0])), math.exp(float(given[0, place, 1]) - 2)

        def cdf(v: float, centre: float = centre, scale: float = scale) -> float:
            return 1 / (1 + math.exp(-(v - centre) / scale))

        p = [cdf(-1 + (2 * k + 1) / 4) - cdf(-1 + (2 * k - 1) / 4) + 1e-6 for k in range(levels)]
        wanted = torch.tensor(p, dtype=torch.float64) * process.likelihood(x_t, 0.5)[0, place]
        torch.testing.assert_close(found.mean[0, place], wanted / wanted.sum(), rtol=1e-9, atol=1e-12)
    extreme = logistic(torch.tensor([[[0.0, -9.0], [0.0, 30.0]]]), x_t, 0.5, process, levels)
    assert bool(extreme.mean.isfinite().all())
    sure_and_wrong = logistic(torch.tensor([[[0.0, -9.0], [0.0, -9.0]]]), x_t, 0.5, process, levels)
    assert bool(sure_and_wrong.error(torch.tensor([[4, 0]])).isfinite())
    assert float(sure_and_wrong.error(torch.tensor([[4, 0]]))) > 10


def test_a_network_is_read_as_its_output_says_in_float32_or_better():
    process = PROCESSES["mask"]

    class Net(torch.nn.Module):
        def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
            return torch.zeros(*x.shape, 4, dtype=torch.bfloat16)

    x_t = torch.tensor([[0, 3], [3, 1]])
    guess = Predictor(Net(), process, TokenHead("subs", 3))(x_t, 0.5)
    assert guess.log_probs.dtype == torch.float32
    assert guess.mean[0].tolist() == [[1, 0, 0, 0], [pytest.approx(1 / 3)] * 3 + [0]]
    assert float(Predictor(Net(), Categorical(LogLinear(), mask(4)), "probabilities")(x_t, 0.5).mean.std()) == 0
