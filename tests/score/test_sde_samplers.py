"""Samplers of stochastic differential equations: the papers' formulas, exact final laws, orders, invariance."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle, MixtureOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample, trajectory
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule
from undiffuse.grids.even import Even
from undiffuse.samplers import (
    DDIM,
    Ancestral,
    Corrector,
    EulerMaruyama,
    Heun,
    ProbabilityFlow,
    ReverseDiffusion,
)
from undiffuse.schedules import VE, VP, EDMSchedule, FlowSchedule, Geometric, LinearBeta, LogLinear, SubVP

X = Random(0).normal((5, 3), dtype=torch.float64)
EARLY = [VP(), SubVP(), VE(), EDMSchedule(sigma_max=5)]


def time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def moved(denoiser: Denoiser, sampler: Sampler, times: Tensor, variance: float) -> tuple[float, float]:
    """The variances with and without the last noise, from a centred normal of this variance: each step is linear."""
    rest = variance
    for t, s in pairwise(times):
        belief: Any = sampler.step(denoiser, torch.ones(1, 1, dtype=torch.float64), t, s, random=Random(0))[0]
        rest = float(belief.mean) ** 2 * variance
        variance = rest + float(belief.var)
    return variance, rest


def smoothed(schedule: Schedule, t: float, variance: float) -> float:
    alpha, sigma = (float(c) for c in schedule.at(t, torch.empty(())))
    return alpha**2 * variance + sigma**2


# Against the formulas of arXiv:2011.13456, written out.


def test_euler_maruyama_is_the_papers_step_for_vp_subvp_and_ve():
    t, s = time(0.6), time(0.57)
    beta, area = 0.1 + 19.9 * 0.6, 0.1 * 0.6 + 19.9 * 0.18
    growth = math.log(5000.0)
    drifts: dict[Schedule, tuple[float, float]] = {
        VP(): (-beta / 2, beta),
        SubVP(): (-beta / 2, beta * (1 - math.exp(-2 * area))),
        VE(): (0.0, 2 * growth * (0.01 * math.exp(growth * 0.6)) ** 2),
    }
    for schedule, (drift, diffusion) in drifts.items():
        process = Gaussian(schedule)
        oracle = GaussianOracle(process, 0.2, 0.3)
        belief: Any = EulerMaruyama().step(oracle, X, t, s, random=Random(0))[0]
        score = process.score(X, oracle(X, t), t)
        torch.testing.assert_close(belief.mean, X + (drift * X - diffusion * score) * -0.03, rtol=1e-9, atol=1e-9)
        assert float(belief.var) == pytest.approx(diffusion * 0.03, rel=1e-9)


def test_reverse_diffusion_is_the_papers_step_on_a_table_and_on_a_ladder():
    for schedule, index in ((LinearBeta(), 400), (Geometric(), 6)):
        process, steps = Gaussian(schedule), schedule.steps
        t, s = time((index + 1) / steps), time(index / steps)
        oracle = GaussianOracle(process, 0.2, 0.3)
        belief: Any = ReverseDiffusion().step(oracle, X, t, s, random=Random(0))[0]
        score = process.score(X, oracle(X, t), t)
        if schedule == LinearBeta():
            beta = 1e-4 + (0.02 - 1e-4) * index / 999
            mean, variance = (2 - math.sqrt(1 - beta)) * X + beta * score, beta
        else:
            variance = float(schedule.sigma(t) ** 2 - schedule.sigma(s) ** 2)
            mean = X + variance * score
        torch.testing.assert_close(belief.mean, mean, rtol=1e-8, atol=1e-8)
        assert float(belief.var) == pytest.approx(variance, rel=1e-8)


def test_ancestral_sampling_is_the_papers_formula_for_both_families():
    """arXiv:2011.13456, eq. 4 (VP, whose variance is beta) and eq. 47 (VE)."""
    process = Gaussian(LinearBeta())
    oracle, t, s = GaussianOracle(process, 0.2, 0.3), time(0.401), time(0.4)
    beta, score = 1e-4 + (0.02 - 1e-4) * 400 / 999, process.score(X, oracle(X, time(0.401)), time(0.401))
    belief: Any = Ancestral("beta").step(oracle, X, t, s, random=Random(0))[0]
    torch.testing.assert_close(belief.mean, (X + beta * score) / math.sqrt(1 - beta), rtol=1e-8, atol=1e-8)
    assert float(belief.var) == pytest.approx(beta, rel=1e-8)
    process = Gaussian(Geometric())
    oracle, t, s = GaussianOracle(process, 0.2, 0.3), time(0.7), time(0.6)
    high, low = float(process.schedule.sigma(t)) ** 2, float(process.schedule.sigma(s)) ** 2
    belief = Ancestral().step(oracle, X, t, s, random=Random(0))[0]
    mean = X + (high - low) * process.score(X, oracle(X, t), t)
    torch.testing.assert_close(belief.mean, mean, rtol=1e-9, atol=1e-9)
    assert float(belief.var) == pytest.approx(low * (high - low) / high, rel=1e-9)


def test_a_reverse_step_with_little_noise_is_an_euler_maruyama_step():
    """Their difference falls as the square of the step: a quarter for half the step (X31's identity)."""
    process = Gaussian(VP())
    oracle, gaps = GaussianOracle(process, 0.2, 0.3), []
    for length in (0.002, 0.001):
        t, s = time(0.5), time(0.5 - length)
        pair: list[Any] = [
            sampler.step(oracle, X, t, s, random=Random(0))[0] for sampler in (EulerMaruyama(), ReverseDiffusion())
        ]
        gaps.append(float((pair[0].mean - pair[1].mean).abs().max()))
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.05)


def test_the_final_variances_of_data_of_variance_a_quarter_at_a_thousand_steps():
    """X31: VP from 1 to 1e-3 and one step more, down to (almost) 0; with and without its noise."""
    times = torch.cat([torch.linspace(1, 1e-3, 1000, dtype=torch.float64), torch.tensor([1e-13]).double()])
    noisy, mean = moved(GaussianOracle(Gaussian(VP()), 0.0, 0.25), EulerMaruyama(), times, 1.0)
    assert noisy == pytest.approx(0.250353, abs=1e-6)
    assert mean == pytest.approx(0.250233, abs=1e-6)


def test_the_reverse_diffusion_of_the_papers_code_has_its_final_variances():
    """X31: the code pairs the table's beta with the score of continuous time; the same pairing, in its own numbers."""
    oracle = GaussianOracle(Gaussian(VP()), 0.0, 0.25)
    process, variance, rest = Gaussian(VP()), 1.0, 1.0
    one, betas = torch.ones(1, 1, dtype=torch.float64), torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    for t in torch.linspace(1, 1e-3, 1000, dtype=torch.float64):
        beta = float(betas[int(float(t) * 999)])
        factor = 2 - math.sqrt(1 - beta) + beta * float(process.score(one, oracle(one, t), t))
        rest = factor**2 * variance
        variance = rest + beta
    assert variance == pytest.approx(0.251991, abs=1e-6)
    assert rest == pytest.approx(0.251891, abs=1e-6)
    times = torch.cat([torch.linspace(1, 1e-3, 1000, dtype=torch.float64), torch.tensor([1e-13]).double()])
    ours, _ = moved(oracle, ReverseDiffusion(), times, 1.0)
    assert abs(ours - 0.25) < abs(variance - 0.25)  # the kernel between the grid's own times leaves less of an error


# Orders and invariance.


@pytest.mark.parametrize("schedule", EARLY, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(
    "sampler", [EulerMaruyama(), ReverseDiffusion(), Ancestral("beta")], ids=lambda s: type(s).__name__
)
def test_the_error_of_the_law_halves_with_twice_the_steps(sampler: Sampler, schedule: Schedule):
    """Weak order 1, from a start below 1 to a time above 0, on the variance of a Gaussian."""
    oracle, errors = GaussianOracle(Gaussian(schedule), 0.0, 0.25), []
    for steps in (100, 200):
        times = torch.linspace(0.7, 0.4, steps + 1, dtype=torch.float64)
        variance, _ = moved(oracle, sampler, times, smoothed(schedule, 0.7, 0.25))
        errors.append(variance - smoothed(schedule, 0.4, 0.25))
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.06)


@pytest.mark.parametrize("schedule", [*EARLY, LinearBeta(), Geometric()], ids=lambda s: type(s).__name__)
def test_the_correctors_fixed_point_tends_to_the_exact_law_with_its_step(schedule: Schedule):
    """x + a score + sqrt(2 a) noise leaves s^2 / (1 - a/(2 s^2)) where q(x_t) = N(0, s^2)."""
    oracle, t = GaussianOracle(Gaussian(schedule), 0.0, 0.25), time(0.5)
    exact, one = smoothed(schedule, 0.5, 0.25), torch.ones(1, 1, dtype=torch.float64)
    sigma, excess = float(schedule.sigma(t)), []
    for snr in (0.16, 0.08):
        step: Any = Corrector(snr=snr).corrected(oracle, one, t, 1.0, Random(0), {})
        size = 2 * (snr * sigma) ** 2
        assert float(step.var) == pytest.approx(2 * size, rel=1e-9)
        fixed = float(step.var) / (1 - float(step.mean) ** 2)
        assert fixed == pytest.approx(exact / (1 - size / (2 * exact)), rel=1e-9)
        excess.append(fixed - exact)
    assert excess[0] / excess[1] == pytest.approx(4, rel=0.1)  # the step is the square of the signal-to-noise ratio


def test_the_corrector_leaves_a_mixture_where_it_is_as_its_step_falls():
    """One step of the exact marginal's own law: moments by 20,000 draws, within their scatter."""
    schedule = VP()
    process = Gaussian(schedule)
    oracle = MixtureOracle(process, [0.3, 0.7], torch.tensor([[-0.6], [0.5]]), torch.tensor([0.02, 0.06]))
    x = process.marginal(oracle.draw(20_000, Random(1)), 0.1).sample(Random(2))
    after = Corrector(snr=0.05, corrections=10).corrected(oracle, x, time(0.1), 1.0, Random(3), {}).sample(Random(4))
    assert float((after - x).abs().mean()) > 0.03  # it moves
    for power in (1, 2, 3, 4):
        assert float((after**power).mean()) == pytest.approx(float((x**power).mean()), abs=0.02)


def test_the_share_of_a_correction_is_the_tables_one_minus_beta():
    """And both norms agree for data that is a point, where the score is that of pure noise."""
    process = Gaussian(LinearBeta())
    x = process.marginal(torch.zeros(4000, 8, dtype=torch.float64), 0.3).sample(Random(0))
    oracle = GaussianOracle(process, 0.0, 0.0)
    found: list[Any] = []
    for norms in ("level", "batch"):
        corrector = Corrector(DDIM(), "corrector_predictor", norms=norms)  # type: ignore[arg-type]
        found.append(corrector.corrected(oracle, x, time(0.3), 1.0, Random(0), {}))
    assert float(found[1].var) == pytest.approx(float(found[0].var), rel=0.08)  # E|noise| is not quite sqrt(d)
    beta = 1e-4 + (0.02 - 1e-4) * 299 / 999
    belief: Any = Corrector("ancestral").step(oracle, x, time(0.3), time(0.299), random=Random(0))[0]
    assert float(belief.var) == pytest.approx(
        4 * (1 - beta) * 0.16**2 * float(process.schedule.sigma(time(0.299))) ** 2
    )


@pytest.mark.parametrize("order", ["predictor_corrector", "corrector_predictor"])
def test_a_corrector_draws_a_step_towards_the_exact_law(order: Any):
    """From a start that is too narrow, one correction a step of `reverse_diffusion` ends nearer to N(0, 1/4)."""
    oracle = GaussianOracle(Gaussian(VE(sigma_max=5.0)), 0.0, 0.25)
    x = 2 * Random(7).normal((6000, 1), dtype=torch.float64)  # the exact start has a variance of 25.25
    stds = []
    for sampler in (ReverseDiffusion(), Corrector(order=order, corrections=3)):
        *_, end = trajectory(oracle, sampler, x, Even()(VE(), 60), random=Random(0))
        stds.append(float(end.std()))
    assert abs(stds[1] - 0.5) < 0.6 * abs(stds[0] - 0.5)


# The probability flow to a tolerance.


@pytest.mark.parametrize(
    "schedule", [VP(), SubVP(), VE(), EDMSchedule(), FlowSchedule(), LinearBeta()], ids=lambda s: type(s).__name__
)
def test_probability_flow_is_the_exact_map_of_a_gaussian(schedule: Schedule):
    """x_s = x_t std_s/std_t; over one step, from a start below 1, and onto data."""
    oracle = GaussianOracle(Gaussian(schedule), 0.0, 0.25)
    for start, end in ((1.0, 0.3), (0.6, 0.3), (0.6, 0.0)):
        times = torch.tensor([start, end], dtype=torch.float64)
        *_, x = trajectory(oracle, ProbabilityFlow(rtol=1e-8, atol=1e-8, end=1e-5), X, times, random=Random(0))
        scale = math.sqrt(smoothed(schedule, end, 0.25) / smoothed(schedule, start, 0.25))
        tolerance = 2e-4 if (schedule, end) == (VE(), 0.0) else 2e-6  # ve's lowest noise, 0.01, from which it lands
        torch.testing.assert_close(x, scale * X, rtol=tolerance, atol=tolerance)


def test_probability_flow_of_a_mixture_agrees_with_many_steps_of_heun():
    oracle = MixtureOracle(Gaussian(VP()), [0.3, 0.7], torch.tensor([[-0.6], [0.5]]), torch.tensor([0.02, 0.06]))
    x = Random(0).normal((20, 1), dtype=torch.float64)
    times = torch.linspace(1, 0.001, 501, dtype=torch.float64)
    *_, many = trajectory(oracle, Heun(), x, times, random=Random(0))
    for grid in (times[[0, -1]], times[[0, 250, 400, -1]]):
        *_, few = trajectory(oracle, ProbabilityFlow(1e-7, 1e-7), x, grid, random=Random(0))
        torch.testing.assert_close(few, many, rtol=0, atol=2e-4)


def test_a_smaller_tolerance_takes_more_calls_and_gives_a_smaller_error():
    calls = 0

    class Counted(GaussianOracle):
        def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Any:
            nonlocal calls
            calls += 1
            return super().__call__(x_t, t)

    found: list[tuple[int, float]] = []
    for tolerance in (1e-3, 1e-5, 1e-7):
        calls = 0
        sampler = ProbabilityFlow(tolerance, tolerance, end=1e-4)
        x = sample(Counted(Gaussian(VP()), 0.0, 0.25), (5, 3), sampler=sampler, start=X)
        found.append((calls, float((x - X * math.sqrt(0.25 / smoothed(VP(), 1.0, 0.25))).abs().max())))
    assert found[0][0] < found[1][0] < found[2][0] < 250
    assert found[0][1] > 3 * found[1][1] > 9 * found[2][1]
    assert all(error < 20 * tolerance for (_, error), tolerance in zip(found, (1e-3, 1e-5, 1e-7), strict=True))


TOKENS = TokenOracle(Categorical(LogLinear(), uniform(2)), torch.tensor([[0], [1]]), [0.5, 0.5])
POINT = GaussianOracle(Gaussian(VP()), 0.0, 0.25)


@pytest.mark.each(
    ("make", "message"),
    [
        (
            lambda: sample(TOKENS, (1, 1), sampler=EulerMaruyama(), steps=2),
            "euler_maruyama is for values",
        ),
        (lambda: sample(TOKENS, (1, 1), sampler=ReverseDiffusion(), steps=2), "reverse_diffusion is for values"),
        (lambda: sample(TOKENS, (1, 1), sampler=Corrector(), steps=2), "corrector is for values"),
        (lambda: sample(TOKENS, (1, 1), sampler=ProbabilityFlow()), "probability_flow is for values"),
        (
            lambda: sample(GaussianOracle(Gaussian(FlowSchedule())), (1, 1), sampler=EulerMaruyama(), steps=2),
            "euler_maruyama cannot step from t = 1, where alpha = 0: the drift of the process is infinite; use",
        ),
        (lambda: Corrector(order="both"), "corrector has order predictor_corrector or corrector_predictor and norms"),  # type: ignore[arg-type]
        (lambda: Corrector(norms="mine"), "norms level or batch, not 'predictor_corrector' and 'mine'"),  # type: ignore[arg-type]
        (lambda: Corrector(corrections=0), "corrector needs corrections >= 1 and snr > 0, not 0 and 0.16"),
        (lambda: Corrector(snr=-1.0), "corrector needs corrections >= 1 and snr > 0, not 1 and -1"),
        (
            lambda: Corrector("revers_diffusion"),
            r"samplers has no 'revers_diffusion' \(did you mean 'reverse_diffusion'",
        ),
        (lambda: Corrector(Corrector()), "corrector needs a predictor that is no corrector itself; ask for more"),
        (
            lambda: ProbabilityFlow(atol=0.0),
            "probability_flow needs rtol >= 0, atol > 0, end > 0 and most >= 1, not 1e-05",
        ),
        (
            lambda: sample(POINT, (1, 1), sampler=ProbabilityFlow(most=3)),
            "probability_flow did not reach its end within 3 inner steps: the guess is too rough for rtol = 1e-05",
        ),
    ],
)
def test_meaningless_requests_are_refused(make: Callable[[], Any], message: str):
    with pytest.raises(Refused, match=message):
        make()


def test_a_recipe_names_the_predictor_or_gives_its_table():
    from undiffuse.recipes.recipe import Recipe
    from undiffuse.recipes.resolved import resolve
    from undiffuse.sampling.plan import recipe_defaults

    recipe = Recipe.find("digits")
    plain = recipe_defaults(
        recipe.override(["sampler.name=corrector", "sampler.predictor=ancestral", "sampler.steps=7"])
    )
    assert (plain.sampler, plain.steps) == (Corrector("ancestral"), 7)
    table = recipe.override(["sampler.name=corrector", "sampler.predictor.name=ddim", "sampler.predictor.eta=0.5"])
    assert recipe_defaults(table).sampler == Corrector(DDIM(0.5))
    with pytest.raises(Refused, match=r"samplers 'ddim' has no 'etta' \(did you mean 'eta'"):
        recipe_defaults(table.override(["sampler.predictor.etta=1"]))
    assert resolve(recipe.override(["sampler.name=corrector"]))["sampler"]["predictor"] == "reverse_diffusion"
