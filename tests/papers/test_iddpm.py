"""Improved DDPM (arXiv:2102.09672): a learned variance, the hybrid objective, and strided sampling."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.heads.learned_variance import LearnedVariance
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample, trajectory
from undiffuse.grids.even import Even
from undiffuse.grids.linspace import Linspace
from undiffuse.grids.trailing import Trailing
from undiffuse.likelihood import elbo
from undiffuse.likelihood.terms import prior, reconstruction, step
from undiffuse.objectives import Denoising, Hybrid, Variational
from undiffuse.parameterizations import Noise
from undiffuse.samplers import Ancestral
from undiffuse.schedules import VP, Cosine, LinearBeta, TableSchedule

PROCESS = Gaussian(LinearBeta())
BETAS = np.linspace(1e-4, 0.02, 1000)
BARS: Any = np.cumprod(1 - BETAS)
X = Random(0).normal((5, 2), dtype=torch.float64)


class Told(Denoiser):
    """A Gaussian's exact mean, with fractions that a function of time and x_t gives."""

    def __init__(self, process: Gaussian = PROCESS, fraction: Any = lambda t, x: 0.3 + 0.2 * x, std: float = 0.5):
        self.process, self.fraction = process, fraction
        self.oracle = GaussianOracle(process, 0.0, std**2)

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        fraction = torch.as_tensor(self.fraction(t, x_t), dtype=x_t.dtype).expand_as(x_t)
        return replace(self.oracle(x_t, t).mean_only(), fraction=fraction)


def at(index: int) -> Tensor:
    """The time of DDPM's index; -1 is data."""
    return torch.tensor((index + 1) / 1000, dtype=torch.float64)


@pytest.mark.parametrize(("t", "s"), [(999, 998), (500, 499), (1, 0), (999, 888), (400, 0)])
def test_a_step_is_its_formula_written_out_for_any_two_times(t: int, s: int):
    """beta = 1 - abar_t/abar_s and the posterior's variance of the very step, as a spaced process recomputes them."""
    guess = Told()(X, at(t))
    beta = 1 - BARS[t] / BARS[s]
    small = beta * (1 - BARS[s]) / (1 - BARS[t])
    mean = (
        math.sqrt(BARS[s]) * beta / (1 - BARS[t]) * guess.mean + math.sqrt(1 - beta) * (1 - BARS[s]) / (1 - BARS[t]) * X
    )
    fraction = 0.3 + 0.2 * X
    belief: Any = Ancestral("learned").step(Told(), X, at(t), at(s), random=Random(0))[0]
    torch.testing.assert_close(belief.mean, mean, rtol=1e-10, atol=1e-12)
    wanted = (fraction * math.log(beta) + (1 - fraction) * math.log(small)).exp()
    torch.testing.assert_close(belief.var, wanted, rtol=1e-9, atol=0)


def test_the_ends_of_the_range_are_beta_and_the_posterior_and_beyond_is_legal():
    for fraction, variance in ((0.0, "posterior"), (1.0, "beta")):
        beliefs: list[Any] = [
            Ancestral(v).step(Told(fraction=lambda t, x, f=fraction: f), X, at(600), at(500), random=Random(0))[0]
            for v in ("learned", variance)
        ]
        torch.testing.assert_close(*(torch.as_tensor(b.var).expand_as(X) for b in beliefs), rtol=1e-12, atol=0)
    wide: Any = Ancestral("learned").step(Told(fraction=lambda t, x: 1.7), X, at(600), at(500), random=Random(0))[0]
    assert float(wide.var.min()) > 1 - BARS[600] / BARS[500]


def test_the_last_step_lands_on_the_guess():
    belief: Any = Ancestral("learned").step(Told(), X, at(0), at(-1), random=Random(0))[0]
    assert torch.equal(belief.sample(Random(0)), belief.mean)
    torch.testing.assert_close(belief.mean, Told()(X, at(0)).mean)


class Both(nn.Module):
    """Noise and v of two channels, and the times it was asked at."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.4, -0.3], dtype=torch.float64))
        self.times: list[float] = []

    def forward(self, x: Tensor, c_time: Tensor, **cond: Any) -> Tensor:
        self.times.append(float(c_time[0]))
        guided = 0.0 if "label" not in cond else cond["label"].double()[:, None] * 0.1
        if "drop" in cond:
            guided = torch.where(cond["drop"][:, None], 0.0, guided)
        return torch.cat([self.weight[0] * x + guided, self.weight[1] * x + 2 * guided], dim=1)


def test_a_strided_run_feeds_the_network_the_original_times():
    network = Both()
    model = Predictor(network, PROCESS, LearnedVariance(Noise(), "learned_range"))
    grid = Trailing()(PROCESS.schedule, 4)
    sample(model, (3, 2), sampler=Ancestral("learned"), times=grid)
    assert network.times == [999.0, 749.0, 499.0, 249.0]


def test_the_whole_table_as_a_sub_sequence_is_the_run_without_one_bit_for_bit():
    model = Predictor(Both(), Gaussian(LinearBeta(steps=40)), LearnedVariance(Noise(), "learned_range"))
    drawn = [
        sample(model, (3, 2), sampler=Ancestral("learned"), times=grid(model.process.schedule, 40), start=X[:3])
        for grid in (Even(), Trailing(), Linspace())
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


def test_the_fraction_is_half_of_v_plus_one_and_not_squashed():
    model = Predictor(Both(), PROCESS, LearnedVariance(Noise(), "learned_range"))
    guess = model(10 * X, 0.5)
    torch.testing.assert_close(guess.fraction, (-3.0 * X + 1) / 2)
    assert guess.certain
    assert model.bound_variance == "learned"
    assert Predictor(nn.Identity(), PROCESS, "noise").bound_variance == "posterior"


def chosen(variance: float, bottom: float, top: float) -> float:
    """The fraction at which the range gives this variance."""
    return (math.log(variance) - math.log(bottom)) / (math.log(top) - math.log(bottom))


def best(i: int, std: float, bars: Any) -> float:
    """The fraction of the step from i to i - 1 (in 1 ... T) at which it has the exact variance of N(0, std^2)."""
    bars = np.concatenate([[1.0], bars])
    here, there = bars[i], bars[i - 1]
    beta = 1 - here / there
    small = beta * (1 - there) / (1 - here)
    if i == 1:
        return chosen(std**2 * (1 - here) / (here * std**2 + 1 - here), _second(bars), beta)
    return chosen(beta * (there * std**2 + 1 - there) / (here * std**2 + 1 - here), small, beta)


def _second(bars: Any) -> float:
    """The posterior's variance of the second step, which stands for the first's."""
    return (1 - bars[2] / bars[1]) * (1 - bars[1]) / (1 - bars[2])


def test_with_the_best_fractions_the_bound_of_a_gaussian_is_its_entropy():
    """X05: .725791, where beta misses it by .11 and the posterior's variance by .57; three nodes are exact."""
    fractions = torch.tensor([best(i, 0.5, BARS) for i in range(1, 1001)], dtype=torch.float64)
    model = Told(fraction=lambda t, x: fractions[(torch.as_tensor(t) * 1000).round().long() - 1].reshape(-1, 1))
    nodes, weights = (torch.from_numpy(each) for each in np.polynomial.hermite_e.hermegauss(3))
    weights = weights / math.sqrt(2 * math.pi)
    x_0, e = (each.reshape(-1, 1) for each in torch.meshgrid(nodes / 2, nodes, indexing="ij"))
    chance = (weights[:, None] * weights).flatten()
    total = float((chance * prior(PROCESS, x_0, at(999))).sum())
    times = Even()(PROCESS.schedule, 1000)
    for which in torch.arange(1, 1000).split(250):  # so many steps in one batch; from time which/1000 + 1/1000
        t, s = ((which + k).double().repeat_interleave(9) / 1000 for k in (1, 0))
        many, noises = x_0.repeat(len(which), 1), e.repeat(len(which), 1)
        alpha, sigma = PROCESS.schedule.at(t, many)
        x_t = alpha * many + sigma * noises
        terms = step(PROCESS, many, x_t, model(x_t, t), s, t, "learned")
        total += float((chance.repeat(len(which)) * terms).sum())
    x_t = math.sqrt(BARS[0]) * x_0 + math.sqrt(1 - BARS[0]) * e
    total -= float((chance * reconstruction(PROCESS, x_0, x_t, model(x_t, at(0)), times, "learned")).sum())
    assert total == pytest.approx(0.7257913526, abs=2e-9)


TABLE = TableSchedule(betas=(0.05, 0.1, 0.2, 0.4))
FEW: Any = np.cumprod(1 - np.array([0.05, 0.1, 0.2, 0.4]))


def by_hand(x_0: float, x_t: float, mean: float, fraction: float, i: int, levels: bool) -> float:
    """A term of the bound in nats from DDPM's formulas, by one-dimensional integrals over a grid."""
    bars = np.concatenate([[1.0], FEW])
    beta = 1 - bars[i] / bars[i - 1]
    small = beta * (1 - bars[i - 1]) / (1 - bars[i])
    if i == 1:
        var = math.exp(fraction * math.log(beta) + (1 - fraction) * math.log(_second(bars)))
        if not levels:
            return 0.5 * math.log(2 * math.pi * var) + (x_0 - mean) ** 2 / (2 * var)
        low = -math.inf if x_0 == -1 else x_0 - 0.25
        high = math.inf if x_0 == 1 else x_0 + 0.25
        ends = [0.5 * (1 + math.erf((x - mean) / math.sqrt(2 * var))) for x in (low, high)]
        return -math.log(ends[1] - ends[0])
    var = math.exp(fraction * math.log(beta) + (1 - fraction) * math.log(small))
    c_0 = math.sqrt(bars[i - 1]) * beta / (1 - bars[i])
    c_t = math.sqrt(1 - beta) * (1 - bars[i - 1]) / (1 - bars[i])
    grid = np.linspace(-12, 12, 60_001)
    q, p = (
        np.exp(-((grid - c_0 * m - c_t * x_t) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
        for m, v in ((x_0, small), (mean, var))
    )
    held = q > 1e-300
    return float((q[held] * np.log(q[held] / np.maximum(p[held], 1e-320))).sum() * (grid[1] - grid[0]))


@pytest.mark.parametrize("levels", [0, 5])
def test_the_variational_objective_is_the_bound_in_bits_term_by_term(levels: int):
    """T L_t / (log 2 d) at every step, and on average the bound of `elbo` without its prior."""
    process = Gaussian(TABLE)
    model = Told(process)
    x_0 = torch.tensor([[-1.0, 0.5], [1.0, 0.0], [-0.5, 1.0]], dtype=torch.float64)
    objective = Variational(levels=levels)
    for i in (1, 2, 3, 4):
        t = torch.full((3,), i / 4, dtype=torch.float64)
        found = objective.at(t, model, Batch(x_0), Random(i))
        x_t = process.marginal(x_0, t).sample(Random(i))
        guess: Any = model(x_t, t)
        wanted = torch.zeros(3, dtype=torch.float64)
        for row in range(3):
            for k in range(2):
                x, noisy, mean, f = (float(each[row, k]) for each in (x_0, x_t, guess.mean, guess.fraction))
                wanted[row] += by_hand(x, noisy, mean, f, i, levels > 0)
        torch.testing.assert_close(found, wanted * 4 / (2 * math.log(2)), rtol=1e-6, atol=1e-8)
    many = x_0.repeat(4000, 1)
    decoder = Decoder(-1, 1, levels) if levels else None
    bound = elbo(model, many, variance="learned", decoder=decoder, batch=12000)
    losses = objective.loss(model, Batch(many), Random(3))
    rest = (bound.nats - bound.prior) / (2 * math.log(2))
    error = float((losses.var() + rest.var()) / len(many)) ** 0.5
    assert float(losses.mean()) == pytest.approx(float(rest.mean()), abs=4 * error)
    assert error < 0.05


def gradients(objective: Any, model: Predictor, x_0: Tensor, t: Tensor) -> list[Tensor]:
    """Of the mean's weight and of v's."""
    (weight,) = model.network.parameters()
    found = torch.autograd.grad(objective.at(t, model, Batch(x_0), Random(3)).mean(), weight)[0]
    return list(found)


@pytest.mark.parametrize("levels", [0, 256])
def test_the_hybrid_trains_the_mean_by_denoising_and_v_by_the_bound(levels: int):
    process = Gaussian(Cosine(steps=50))
    model = Predictor(Both(), process, LearnedVariance(Noise(), "learned_range"))
    x_0 = (Random(1).integers(256, (64, 2)).double() / 127.5 - 1) if levels else Random(1).normal((64, 2)).double()
    t = (torch.arange(64) % 50 + 1).double() / 50
    hybrid, simple, full = (
        gradients(o, model, x_0, t) for o in (Hybrid(levels=levels), Denoising("noise"), Variational(levels=levels))
    )
    assert float(hybrid[0]) == pytest.approx(float(simple[0]), rel=1e-9)
    assert float(simple[1]) == 0
    assert float(hybrid[1]) == pytest.approx(0.001 * float(full[1]), rel=1e-9)
    assert abs(float(full[0])) > 0
    assert all(torch.isfinite(each) for each in (*hybrid, *full))


def test_the_weight_is_of_the_bound_in_bits():
    """At T = 1000, 0.001 T = 1: the term of one step in bits per dimension is added as it is."""
    model, x_0, t = Told(), Random(1).normal((6, 2), dtype=torch.float64), at(499).expand(6)
    added = Hybrid().at(t, model, Batch(x_0), Random(2)) - Denoising("noise").at(t, model, Batch(x_0), Random(2))
    x_t = PROCESS.marginal(x_0, t).sample(Random(2))
    nats = step(PROCESS, x_0, x_t, model(x_t, t), at(498), at(499), "learned")
    torch.testing.assert_close(added, nats / (2 * math.log(2)), rtol=1e-6, atol=1e-9)
    short = Hybrid().at(at(499).expand(6), Told(Gaussian(LinearBeta(10, 1e-4, 0.02))), Batch(x_0), Random(2))
    assert bool(short.isfinite().all())  # a time between the table's is the next noisier one


def test_descent_on_v_finds_the_fraction_of_the_closed_form():
    """Gaussian data: the best fraction of every step gives the exact variance of p(x_s given x_t)."""

    class Fractions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v = nn.Parameter(torch.zeros(4, dtype=torch.float64))

        def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
            t = (c_time.double() + 1) / 4
            noise = process.noise(x, oracle(x, t), t)
            return torch.cat([noise, self.v[c_time.long()][:, None].expand_as(x)], dim=1)

    process = Gaussian(TABLE)
    oracle = GaussianOracle(process, 0.0, 0.25)
    model = Predictor(Fractions(), process, LearnedVariance(Noise(), "learned_range"))
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)  # an exact average over data; the noise is drawn
    x_0 = torch.from_numpy(nodes).repeat(4000)[:, None] / 2
    chance = torch.from_numpy(weights / weights.sum()).repeat(4000)
    t = torch.arange(len(x_0)) // 3 % 4 / 4.0 + 0.25
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = (chance * Variational().at(t, model, Batch(x_0), Random(0))).sum()
        value.backward()
        return value

    optimiser.step(loss)  # pyright: ignore[reportArgumentType]
    for i, v in enumerate(next(model.parameters()).tolist(), 1):
        assert (v + 1) / 2 * width(i) == pytest.approx(best(i, 0.5, FEW) * width(i), abs=0.07)  # logs of variances


def width(i: int) -> float:
    """How far apart the ends of the range are, in logarithms of the variance."""
    bars = np.concatenate([[1.0], FEW])
    small = _second(bars) if i == 1 else (1 - bars[i] / bars[i - 1]) * (1 - bars[i - 1]) / (1 - bars[i])
    return math.log(1 - bars[i] / bars[i - 1]) - math.log(small)


class Given(Denoiser):
    """One guess."""

    def __init__(self, guess: Normal) -> None:
        self.process, self.guess = PROCESS, guess

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        return self.guess


@pytest.mark.parity
@pytest.mark.parametrize(("index", "steps", "v"), [(2, 1000, -0.3), (500, 1000, 1.4), (999, 1000, 0.2), (500, 100, -1)])
def test_parity_with_diffusers(index: int, steps: int, v: float):
    """Step by step; strided where theirs is right: at the posterior's end, since the other keeps the table's beta."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range", clip_sample=False)
    scheduler.set_timesteps(steps)
    output = torch.cat([0.4 * X, torch.full_like(X, v)], dim=1)
    z = torch.randn(X.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    theirs = scheduler.step(output, index, X, generator=torch.Generator().manual_seed(3)).prev_sample
    alpha, sigma = PROCESS.schedule.at(at(index), X)
    guess = Normal((X - sigma * 0.4 * X) / alpha, 0.0, torch.full_like(X, (v + 1) / 2))
    ours: Any = Ancestral("learned").step(Given(guess), X, at(index), at(index - 1000 // steps), random=Random(0))[0]
    tolerance = 5e-4 if index < 10 else 2e-5
    torch.testing.assert_close(ours.mean + ours.var.sqrt() * z, theirs, rtol=0, atol=tolerance)


class OneHalf(nn.Module):
    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        return x


SURE = Predictor(OneHalf(), PROCESS, "noise")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: LearnedVariance(Noise(), "learned"),
            r"the denoiser's variance has no 'learned' \(did you mean 'learned_range'\?\); it has: ",
        ),
        (
            lambda: Predictor(OneHalf(), PROCESS, LearnedVariance(Noise(), "learned_range"))(X, 0.5),
            "a denoiser with variance 'learned_range' needs 4 channels from its network, which gives 2",
        ),
        (
            lambda: sample(SURE, (1, 2), sampler=Ancestral("learned"), steps=2),
            "ancestral with variance 'learned' needs a denoiser with a learned range",
        ),
        (
            lambda: elbo(SURE, X, variance="learned"),
            "the bound with variance 'learned' needs a denoiser with a learned",
        ),
        (
            lambda: Hybrid().loss(SURE, Batch(X), Random(0)),
            "the bound with variance 'learned' needs a denoiser with a learned",
        ),
        (lambda: Hybrid(weight=-1.0), "hybrid needs a weight of 0 or more, not -1"),
        (lambda: Variational("large"), "variational has no variance 'large'; it has: posterior, beta, exact, learned"),  # type: ignore[arg-type]
        (
            lambda: Hybrid().loss(Told(Gaussian(VP())), Batch(X), Random(0)),
            "hybrid bounds a chain of steps, as cosine and linear_beta have; vp has none: use denoising",
        ),
        (
            lambda: Variational(levels=256).loss(Told(), Batch(X + 3), Random(0)),
            r"outside the decoder's range \[-1, 1\]",
        ),
    ],
)
def test_meaningless_requests_are_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()


def test_a_run_of_learned_variance_keeps_a_gaussians_spread_at_ten_steps():
    """With the best fractions 10 strided steps end at 1/4, where beta ends at .3585 and the posterior at .1042."""
    grid = Linspace()(PROCESS.schedule, 10)
    places = (grid * 1000).round().long().tolist()
    bars = {i: BARS[i - 1] for i in places if i}
    fractions = dict.fromkeys(places, 0.0)
    for here, there in pairwise(places[:-1]):
        beta = 1 - bars[here] / bars[there]
        small = beta * (1 - bars[there]) / (1 - bars[here])
        exact = beta * (bars[there] / 4 + 1 - bars[there]) / (bars[here] / 4 + 1 - bars[here])
        fractions[here] = chosen(exact, small, beta)
    model = Told(fraction=lambda t, x: fractions[round(float(t) * 1000)])
    *_, end = trajectory(model, Ancestral("learned"), torch.randn(40_000, 1).double(), grid, random=Random(0))
    assert float(end.var()) == pytest.approx(0.25, rel=4 * (2 / 40_000) ** 0.5)
