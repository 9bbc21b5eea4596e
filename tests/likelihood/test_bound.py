"""The variational bound against numbers found without it: quadrature, grids, enumeration, closed forms."""

import math
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.core.oracles import GaussianOracle, MixtureOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.guidance import OptimalVariance
from undiffuse.likelihood import Decoder, continuous, elbo
from undiffuse.likelihood.terms import Variance, prior, reconstruction, step
from undiffuse.schedules import VE, VP, EDMSchedule, FlowSchedule, LinearBeta, LogLinear, SubVP, TableSchedule

PROCESS = Gaussian(LinearBeta())
MIXTURE = MixtureOracle(
    PROCESS, [0.3, 0.7], torch.tensor([[-0.6], [0.5]]).double(), torch.tensor([0.15**2, 0.15**2]).double()
)


def hermite(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of expectations over a standard normal."""
    x, w = np.polynomial.hermite_e.hermegauss(count)
    return torch.from_numpy(x), torch.from_numpy(w / math.sqrt(2 * math.pi))


def expected(denoiser: Any, x_0: Tensor, weights: Tensor, times: Tensor, variance: Variance, nodes: int) -> float:
    """The bound in nats on average over one-dimensional x_0 (n, 1), by quadrature over the noise."""
    process, (noise, chance) = denoiser.process, hermite(nodes)
    joint = (weights[:, None] * chance).flatten()
    x, e = x_0.repeat_interleave(nodes, 0), noise.repeat(len(x_0))[:, None]
    total = float((weights * prior(process, x_0, times[0])).sum())
    for which in torch.arange(len(times) - 2).split(100):  # so many steps in one batch
        t, s = (times[which + k].repeat_interleave(len(x)) for k in (0, 1))
        many, noises = x.repeat(len(which), 1), e.repeat(len(which), 1)
        alpha, sigma = process.schedule.at(t, many)
        x_t = alpha * many + sigma * noises
        total += float((joint.repeat(len(which)) * step(process, many, x_t, denoiser(x_t, t), s, t, variance)).sum())
    alpha, sigma = process.schedule.at(times[-2], x)
    x_t = alpha * x + sigma * e
    guess = denoiser(x_t, times[-2])
    return total - float((joint * reconstruction(process, x, x_t, guess, times, variance)).sum())


GRID = torch.linspace(1, 0, 1001, dtype=torch.float64)


@pytest.mark.parametrize(
    ("variance", "wanted"), [("posterior", 1.295717), ("beta", 0.840461), ("exact", 0.725791)], ids=str
)
def test_the_bound_of_a_gaussian_is_its_closed_form(variance: Variance, wanted: float):
    """X05: N(0, 1/4), linear-1000. The terms are quadratic, so that three nodes are exact; entropy .725791."""
    x, w = hermite(3)
    found = expected(GaussianOracle(PROCESS, 0.0, 0.25), x[:, None] / 2, w, GRID, variance, 3)
    assert found == pytest.approx(wanted, abs=1e-6)
    assert found >= 0.5 * math.log(2 * math.pi * math.e * 0.25)


@pytest.mark.parametrize(
    ("variance", "wanted"), [("posterior", 0.670230), ("beta", 0.254466), ("exact", 0.132459)], ids=str
)
def test_the_bound_of_a_mixture_is_that_of_the_catalogue(variance: Variance, wanted: float):
    """X05: .3 N(-.6, .15^2) + .7 N(.5, .15^2), whose entropy is .132355: the exact variance misses it by 1e-4."""
    x, w = hermite(16)
    x_0 = torch.cat([x * 0.15 - 0.6, x * 0.15 + 0.5])[:, None]
    found = expected(MIXTURE, x_0, torch.cat([0.3 * w, 0.7 * w]), GRID, variance, 24)
    assert found == pytest.approx(wanted, abs=1e-5)
    assert found >= 0.132355


def test_the_bound_of_a_mixture_with_the_best_single_variance_of_each_step():
    """X05: .136296, between the best variance of each state, .132459, and beta's, .254466."""
    x, w = hermite(16)
    noise, chance = hermite(24)
    x_0, weights = torch.cat([x * 0.15 - 0.6, x * 0.15 + 0.5])[:, None], torch.cat([0.3 * w, 0.7 * w])
    many, noises, joint = x_0.repeat_interleave(24, 0), noise.repeat(32)[:, None], (weights[:, None] * chance).flatten()
    times, variances = GRID[:-1].flip(0), list[float]()
    for some in times.split(100):  # so many in one batch
        t, y, e = some.repeat_interleave(len(many)), many.repeat(len(some), 1), noises.repeat(len(some), 1)
        alpha, sigma = PROCESS.schedule.at(t, y)
        var = torch.as_tensor(MIXTURE(alpha * y + sigma * e, t).var).reshape(len(some), -1)
        variances += (var @ joint).tolist()
    found = expected(OptimalVariance(MIXTURE, times.tolist(), variances), x_0, weights, GRID, "exact", 24)
    assert found == pytest.approx(0.136296, abs=1e-5)


@pytest.mark.parametrize("variance", ["posterior", "beta", "exact"])
def test_a_step_is_a_divergence_on_a_grid(variance: Variance):
    """q(x_s) by Bayes from the two kernels and p(x_s) from DDPM's formulas, normalised and integrated on a grid."""
    x_0, x_t, s, t = 0.4, torch.tensor([[-0.7], [0.1], [0.9]], dtype=torch.float64), 0.5, 0.6
    bar_s, bar_t = (float(PROCESS.schedule.alpha(torch.tensor(each)) ** 2) for each in (s, t))
    guess: Any = MIXTURE(x_t, t)
    beta = 1 - bar_t / bar_s
    small = beta * (1 - bar_s) / (1 - bar_t)
    pull = math.sqrt(bar_s) * beta / (1 - bar_t)
    mean = pull * guess.mean + math.sqrt(bar_t / bar_s) * (1 - bar_s) / (1 - bar_t) * x_t
    var = {"posterior": small, "beta": beta, "exact": small + pull**2 * guess.var}[variance]
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    log_q = -((x_t - math.sqrt(bar_t / bar_s) * grid) ** 2) / (2 * beta) - (grid - math.sqrt(bar_s) * x_0) ** 2 / (
        2 * (1 - bar_s)
    )
    log_p = -((grid - mean) ** 2) / (2 * var)
    width = float(grid[1] - grid[0])
    log_q, log_p = (each - each.logsumexp(1, keepdim=True) - math.log(width) for each in (log_q, log_p))
    wanted = (log_q.exp() * (log_q - log_p)).sum(1) * width
    found = step(PROCESS, torch.full_like(x_t, x_0), x_t, guess, s, t, variance)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "options", [{}, {"subset": 3}, {"subset": 3, "chances": torch.tensor([5.0, 1, 2, 1])}], ids=str
)
def test_drawn_noise_gives_the_terms_of_the_grid_on_average(options: dict[str, Any]):
    times = torch.tensor([1.0, 0.6, 0.3, 0.1, 0.02, 0.0], dtype=torch.float64)
    x_0 = torch.tensor([[0.4]], dtype=torch.float64)
    wanted = expected(MIXTURE, x_0, torch.ones(1, dtype=torch.float64), times, "beta", 60)
    found = elbo(MIXTURE, x_0.expand(20_000, 1), times, variance="beta", batch=5000, **options)
    error = float(found.nats.std()) / 20_000**0.5
    assert abs(float(found.nats.mean()) - wanted) < 4 * error
    assert error < 0.05
    assert found.steps.shape == (20_000, 4)
    assert found.times.tolist() == times[:-1].tolist()


def test_chances_from_a_first_look_lower_the_noise():
    oracle, x_0 = GaussianOracle(PROCESS, 0.0, 0.25), torch.randn(2000, 1, generator=torch.Generator().manual_seed(0))
    look = elbo(oracle, x_0[:50] / 2, subset=200)
    chances = look.chances(mixed=0.2)
    assert float(chances.sum()) == pytest.approx(1)
    even, chosen = (elbo(oracle, x_0 / 2, subset=8, chances=c, batch=2000).nats for c in (None, chances))
    assert float(chosen.var()) < 0.7 * float(even.var())
    assert float(chosen.mean()) == pytest.approx(1.2957, abs=4 * float(chosen.std()) / 2000**0.5 + 0.05)


@pytest.mark.parametrize(
    "schedule", [VP(), VE(), EDMSchedule(), FlowSchedule(), SubVP(), LinearBeta()], ids=lambda s: type(s).__name__
)
def test_the_default_grid_bounds_the_density_under_any_schedule(schedule: Any):
    """With the posterior's variance told, a Gaussian's bound misses -log p by its prior and its last step only."""
    oracle = GaussianOracle(Gaussian(schedule), 0.2, 0.25)
    x_0 = torch.tensor([[-0.3], [0.2], [1.0]], dtype=torch.float64)
    wanted = -torch.distributions.Normal(0.2, torch.tensor(0.5, dtype=torch.float64)).log_prob(x_0)[:, 0]
    found = elbo(oracle, x_0.repeat(400, 1), variance="exact", subset=60, batch=1200)
    nats = found.nats.reshape(400, 3)
    error = nats.std(0) / 400**0.5
    assert bool((nats.mean(0) > wanted - 4 * error).all())
    assert bool((nats.mean(0) < wanted + 4 * error + 0.02).all())
    assert float(error.max()) < 0.25


def test_continuous_time_reaches_the_entropy():
    """The integral has no loss from steps: N(0, 1/4) has .725791, up to its prior and to |x_0 - guess|^2 at t_min."""
    x, _ = hermite(3)
    for schedule in (VP(), FlowSchedule(), LinearBeta()):
        oracle = GaussianOracle(Gaussian(schedule), 0.0, 0.25)
        x_0 = (x[[0, 2]][:, None] / math.sqrt(3) / 2).expand(2, 2000).reshape(-1, 1)  # quadratic terms
        found = continuous(oracle, x_0, points=100, batch=4000)
        error = float(found.nats.std()) / 4000**0.5
        assert abs(float(found.nats.mean()) - 0.725791) < 4 * error + 2e-5
        assert error < 0.05
        assert found.steps.shape == (4000, 100)
        assert found.times.shape == (101,)


def test_continuous_time_is_the_limit_of_many_steps():
    """1000 steps of 0.04 in log-SNR cost a few percent more than infinitely many (arXiv:2107.00630, sec. 4.2)."""
    oracle = GaussianOracle(Gaussian(FlowSchedule()), 0.0, 0.25)
    x_0 = torch.full((4000, 1), 0.5, dtype=torch.float64)
    many = elbo(oracle, x_0, subset=100, batch=4000)
    limit = continuous(oracle, x_0, points=100, batch=4000)
    inner = [float((b.nats - b.reconstruction).mean()) for b in (many, limit)]
    assert 1 < inner[0] / inner[1] < 1.04


def test_levels_have_a_bound_on_their_probability():
    """Five points with known chances: the bound is no better than -log chance, and with many steps hardly worse."""
    decoder = Decoder(low=-1, high=1, levels=5)
    levels = torch.linspace(-1, 1, 5, dtype=torch.float64)
    probs = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1], dtype=torch.float64)
    covs = torch.full((5,), 1e-14, dtype=torch.float64)
    oracle = MixtureOracle(Gaussian(FlowSchedule()), probs, levels[:, None], covs)
    found = elbo(oracle, levels[:, None].repeat(1000, 1), decoder=decoder, subset=60, batch=5000)
    assert found.convention == "probability of levels"
    nats = found.nats.reshape(1000, 5)
    slack = 4 * nats.std(0) / 1000**0.5
    assert bool((nats.mean(0) + slack >= -probs.log()).all())
    assert bool((nats.mean(0) - slack <= 0.05 - probs.log()).all())
    assert float(slack.max()) < 0.3


@pytest.mark.parametrize("schedule", [VP(), EDMSchedule(), FlowSchedule()], ids=lambda s: type(s).__name__)
def test_a_fine_grid_of_a_schedule_without_steps_does_not_make_the_last_step_overconfident(schedule: Any):
    """With the variance of a short step before it, a guess that errs by the noise that is left costs 25 nats."""
    x_0 = GaussianOracle(Gaussian(schedule), 0.0, 0.25).draw(500, Random(0))
    wide = GaussianOracle(Gaussian(schedule), 0.0, 100.0)  # hardly moves what it sees: its error is the noise
    found = elbo(wide, x_0, subset=1, batch=500)
    alpha, sigma = schedule.at(found.times[-1], x_0)
    wanted = 0.5 * math.log(2 * math.pi * math.e) + math.log(float(sigma / alpha))
    assert float(found.reconstruction.mean()) == pytest.approx(wanted, abs=0.15)


def test_units():
    found = elbo(GaussianOracle(PROCESS, 0.0, 1.0), torch.zeros(5, 3, 2, dtype=torch.float64), GRID[::100], draws=2)
    assert found.elements == 6
    torch.testing.assert_close(found.bits_per_dim, found.nats / math.log(2) / 6)
    assert found.mean[0] == pytest.approx(float(found.bits_per_dim.mean()))
    assert found.mean[1] == pytest.approx(float(found.bits_per_dim.std()) / 5**0.5)
    assert found.convention == "density of values"
    assert bool((found.draw_error > 0).all())
    torch.testing.assert_close(found.nats, found.prior + found.steps.sum(1) + found.reconstruction)


def test_a_datum_depends_neither_on_the_batch_nor_on_its_place():
    x_0 = torch.linspace(-1, 1, 6, dtype=torch.float64)[:, None]
    for subset in (None, 4):
        together = elbo(MIXTURE, x_0, GRID[::50], seed=3, subset=subset)
        order = torch.tensor([4, 1, 5])
        some = elbo(MIXTURE, x_0[order], GRID[::50], seed=3, subset=subset, indices=order, batch=2)
        torch.testing.assert_close(some.nats, together.nats[order], rtol=1e-12, atol=1e-12)
        assert not torch.equal(elbo(MIXTURE, x_0, GRID[::50], seed=4, subset=subset).nats, together.nats)


def test_progress_ends_at_its_total():
    heard: list[tuple[int, int]] = []
    asked: list[tuple[Any, dict[str, Any]]] = [(elbo, {"times": GRID[::200], "draws": 2}), (continuous, {"points": 3})]
    for bound, options in asked:
        bound(MIXTURE, torch.zeros(5, 1), batch=2, progress=lambda done, total: heard.append((done, total)), **options)
        assert heard[-1][0] == heard[-1][1]
        assert len({total for _, total in heard}) == 1
        heard.clear()


WORDS = torch.tensor([[0, 0, 1], [1, 2, 2], [2, 0, 0], [0, 1, 2]])
CHANCES = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)


def bayes(before: np.ndarray, one: np.ndarray, whole: np.ndarray, word: int, x: int) -> np.ndarray:
    """q(x_s given x_t = x, x_0 = word); zeros where the word cannot have become x."""
    return before[word] * one[:, x] / whole[word, x] if whole[word, x] > 0 else np.zeros(len(before))


@pytest.mark.parametrize(("noise", "vocabulary"), [(uniform(3), 3), (mask(4), 4), ((0.5, 0.3, 0.2), 3)], ids=str)
def test_a_token_bound_is_that_of_transition_matrices(noise: tuple[float, ...], vocabulary: int):
    """Every x_t of 3 tokens, every step's matrices, Bayes over whole sequences: nothing of the library's bridge."""
    process = Categorical(LogLinear(floor=0), noise)
    oracle = TokenOracle(process, WORDS, CHANCES)
    times = [1.0, 0.7, 0.4, 0.2]
    alphas = [1 - t for t in times] + [1.0]
    eye, away = np.eye(vocabulary), np.tile(np.array(noise), (vocabulary, 1))

    def kernel(ratio: float) -> np.ndarray:
        return ratio * eye + (1 - ratio) * away  # rows are "from"

    states = list(product(range(vocabulary), repeat=3))
    words, chances = WORDS.numpy(), CHANCES.numpy()
    for k in range(len(words)):
        total = 0.0
        for i in range(len(times)):
            whole, before, one = kernel(alphas[i]), kernel(alphas[i + 1]), kernel(alphas[i] / alphas[i + 1])
            for x_t in states:
                reach = whole[words, x_t].prod(1)  # q(x_t given each word)
                weight = float(reach[k])
                if weight == 0:
                    continue
                share = chances * reach / (chances * reach).sum()
                for place, x in enumerate(x_t):
                    reached = [bayes(before, one, whole, int(word[place]), x) for word in words]
                    q, p = reached[k], share @ np.stack(reached)
                    total += weight * float(np.sum(q[q > 0] * np.log(q[q > 0] / p[q > 0])))
        found = elbo(oracle, WORDS[k : k + 1].expand(4000, 3), torch.tensor(times), batch=4000)
        error = float(found.nats.std()) / 4000**0.5
        assert abs(float(found.nats.mean()) - total) < 4 * error + 1e-6
        assert total >= -math.log(chances[k]) - 1e-9
        assert found.convention == "probability of tokens"
        assert float(found.prior.max()) == pytest.approx(0, abs=1e-12)  # nothing is left of the data at t = 1


@pytest.mark.parametrize(("steps", "bits"), [(5, -3.55291), (20, -2.58133)])
def test_the_heartbeat_has_the_papers_bound(steps: int, bits: float):
    """X19: length 20, a one every fifth place, noise (0.8, 0.2), alpha = 1 - t: a perfect guess whose steps take every
    token for itself. States are counted by how many ones the places of each residue modulo 5 have.
    """
    process = Categorical(TableSchedule(alpha_bars=[(1 - i / steps) ** 2 for i in range(1, steps + 1)]), (0.8, 0.2))
    sequences = torch.stack([(torch.arange(20) % 5 == phase).long() for phase in range(5)])
    oracle = TokenOracle(process, sequences, torch.ones(5))
    counts = torch.tensor(list(product(range(5), repeat=5)))  # ones among the four places of each residue
    x_t = torch.zeros(len(counts), 20, dtype=torch.int64)
    for residue in range(5):
        for place in range(4):
            x_t[:, residue + 5 * place] = (counts[:, residue] > place).long()
    ways = torch.tensor([1.0, 4, 6, 4, 1], dtype=torch.float64)[counts].prod(1)
    x_0 = sequences[:1].expand(len(x_t), 20)
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    total = float(prior(process, x_0[:1], times[0]))
    for t, s in pairwise(times):
        weight = ways * process.marginal(x_0, t).log_prob(x_t).exp()
        assert float(weight.sum()) == pytest.approx(1)
        guess = oracle(x_t, t)
        last = float(s) == 0
        terms = -reconstruction(process, x_0, x_t, guess, times) if last else step(process, x_0, x_t, guess, s, t)
        total += float(torch.where(weight > 0, weight * terms, 0.0).sum())
    assert -total / math.log(2) == pytest.approx(bits, abs=1e-5)
