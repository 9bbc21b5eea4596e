"""Langevin dynamics, plain, annealed and on parts of the data, and the rules that choose a ladder."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.grids.even import Even
from undiffuse.recipes import build
from undiffuse.recipes.recipe import Recipe
from undiffuse.samplers import AnnealedLangevin
from undiffuse.samplers.langevin import langevin, score_of, stochastic_gradient_langevin, widened
from undiffuse.sampling.plan import recipe_defaults
from undiffuse.schedules import Geometric, LogLinear
from undiffuse.schedules.ncsn_levels import best_ratio, best_step, covered, largest_distance, ncsn_levels, variance_left


def gain(step: Callable[[Tensor, Random], Tensor], updates: int) -> tuple[float, float]:
    """factor and noise of x -> factor x + sqrt(noise) z for one run of a linear iteration with fresh noise."""

    class Recorder(Random):
        def fold(self, *path: int) -> Random:
            return self

        def normal(self, shape: Any, dtype: Any = torch.float64, device: Any = None) -> Tensor:
            drawn.append(torch.zeros(shape, dtype=dtype, requires_grad=True))
            return drawn[-1]

    drawn: list[Tensor] = []
    x = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    end = step(x, Recorder(0))
    assert len(drawn) == updates
    first, *rest = torch.autograd.grad(end.sum(), [x, *drawn])
    return float(first), sum(float(slope) ** 2 for slope in rest)


def test_a_langevin_step_on_a_normal_is_the_closed_form():
    """var' = (1 - a/s^2)^2 var + 2a, fixed point s^2 / (1 - a/(2 s^2)) (METHODS' check of section 3)."""
    variance, a = 0.7, 0.1
    factor, noise = gain(lambda x, random: langevin(lambda y: -y / variance, x, a, 1, random), 1)
    assert factor == pytest.approx(1 - a / variance, rel=1e-12)
    assert noise == pytest.approx(2 * a, rel=1e-12)
    assert noise / (1 - factor**2) == pytest.approx(widened(variance, a), rel=1e-12)
    assert widened(variance, 1e-6) == pytest.approx(variance, rel=1e-5)


@pytest.mark.parametrize(("convention", "half"), [("ncsn", 2.0), ("ncsnv2", 1.0)])
def test_the_two_conventions_differ_by_a_factor_of_two_in_the_step(convention: Any, half: float):
    """x + a/2 score + sqrt(a) z against x + a score + sqrt(2a) z, and the stationary variance of each."""
    schedule = Geometric()
    oracle, t, s = GaussianOracle(Gaussian(schedule), 0.0, 0.25), torch.tensor(0.3).double(), torch.tensor(0.2).double()
    sampler = AnnealedLangevin(convention, step_size=2e-5, updates=1)
    factor, noise = gain(lambda x, random: sampler.step(oracle, x, t, s, random=random)[0].mean, 1)  # type: ignore[attr-defined]
    sigma = float(schedule.sigma(t))
    a, exact = 2e-5 * sigma**2 / 0.01**2, 0.25 + sigma**2
    assert factor == pytest.approx(1 - a / half / exact, rel=1e-12)
    assert noise == pytest.approx(2 * a / half, rel=1e-12)
    assert noise / (1 - factor**2) == pytest.approx(exact / (1 - a / half / (2 * exact)), rel=1e-12)
    assert noise / (1 - factor**2) == pytest.approx(widened(exact, a / half), rel=1e-12)


def test_ncsns_ladder_is_its_ten_levels():
    levels = Geometric().sigma(torch.arange(10, 0, -1, dtype=torch.float64) / 10)
    wanted = [1, 0.59948, 0.35938, 0.21544, 0.12915, 0.07743, 0.04642, 0.02783, 0.01668, 0.01]
    torch.testing.assert_close(levels, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=5.1e-6)
    grid = registry.get("grids", AnnealedLangevin().grid)()
    torch.testing.assert_close(Geometric().sigma(grid(Geometric(), 10)[:-1]), levels, rtol=1e-9, atol=0)


def test_a_level_leaves_what_the_fourth_technique_says():
    """After `updates` steps on data at a point: from ratio^2 sigma^2 to variance_left sigma^2."""
    schedule, t, s = Geometric(), torch.tensor(0.6).double(), torch.tensor(0.5).double()
    sampler = AnnealedLangevin("ncsnv2", step_size=6e-6, updates=5)
    oracle = GaussianOracle(Gaussian(schedule), 0.0, 0.0)
    factor, noise = gain(lambda x, random: sampler.step(oracle, x, t, s, random=random)[0].mean, 5)  # type: ignore[attr-defined]
    ratio, sigma = float(schedule.sigma(torch.tensor(0.7)) / schedule.sigma(t)), float(schedule.sigma(t))
    left = factor**2 * (ratio * sigma) ** 2 + noise
    assert left / sigma**2 == pytest.approx(variance_left(ratio, 5, 6e-6, 0.01), rel=1e-9)


def test_the_last_level_ends_with_its_guess_or_with_its_noise():
    oracle = GaussianOracle(Gaussian(Geometric()), 0.3, 0.0)
    for denoise, std in ((True, 0.0), (False, 0.01)):
        sampler = AnnealedLangevin(updates=20, denoise=denoise)
        x = sample(oracle, (4000, 1), sampler=sampler)
        assert float(x.mean()) == pytest.approx(0.3, abs=1e-3)
        assert float(x.std()) == pytest.approx(std, rel=0.1, abs=1e-6)


def test_a_ladder_from_a_level_below_one_starts_from_that_level():
    oracle = GaussianOracle(Gaussian(Geometric(sigma_max=2.0)), 0.3, 0.04)
    x = sample(oracle, (3000, 1), sampler=AnnealedLangevin(), times=Even()(Geometric(), 10)[3:])
    assert float(x.mean()) == pytest.approx(0.3, abs=0.03)
    assert float(x.std()) == pytest.approx(0.2, rel=0.15)


def test_langevin_from_an_energy_finds_two_wells_and_their_temperature():
    energy = lambda x: 4 * ((x**2 - 1) ** 2).sum(1)  # noqa: E731
    score = score_of(energy)
    x = Random(0).normal((3000, 1))
    torch.testing.assert_close(score(x), -16 * x * (x**2 - 1))
    grid = torch.linspace(-2.5, 2.5, 2001, dtype=torch.float64)[:, None]
    for temperature in (1.0, 0.5):
        end = langevin(score, x, 2e-3, 500, Random(1), temperature=temperature)
        weight = (-energy(grid) / temperature).softmax(0)
        assert float((end**2).mean()) == pytest.approx(float(weight @ grid[:, 0] ** 2), abs=0.03)
        assert float(end.mean()) == pytest.approx(0.0, abs=0.08)


def test_stochastic_gradient_langevin_finds_the_posterior_of_a_mean():
    """50 data of variance 1 and a prior N(0, 4): the posterior is N(count mean / (count + 1/4), 1 / (count + 1/4))."""
    data = 0.7 + Random(5).normal((50,), dtype=torch.float64)
    precision = 50 + 0.25
    seen: list[Tensor] = []

    def scores(x: Tensor, rows: Tensor) -> Tensor:
        seen.append(rows)
        return (data[rows] - x).sum(1, keepdim=True)

    x = stochastic_gradient_langevin(
        scores,
        50,
        torch.zeros(2000, 1, dtype=torch.float64),
        lambda i: 4e-4,
        300,
        Random(0),
        batch=25,
        prior=lambda x: -x / 4,
    )
    assert float(x.mean()) == pytest.approx(float(data.sum()) / precision, abs=0.06)
    assert float(x.var()) == pytest.approx(1 / precision, rel=0.12)
    assert all(len(rows.unique()) == 25 for rows in seen)
    assert len(torch.cat(seen).unique()) == 50
    whole = stochastic_gradient_langevin(scores, 50, x, lambda i: 1e-3, 3, Random(3), batch=50)
    torch.testing.assert_close(
        whole[:2],
        stochastic_gradient_langevin(scores, 50, x[:2], lambda i: 1e-3, 3, Random(3), batch=50),
    )


# The rules of NCSNv2's ladder.

PUBLISHED = {
    "cifar": (50, 232, 5, 6.2e-6, 1.037559, 1.05547),
    "celeba": (90, 500, 5, 3.3e-6, 1.018414, 1.03135),
    "ffhq": (348, 2311, 3, 0.9e-6, 1.004537, 1.00885),
    "bedroom": (190, 1086, 3, 1.8e-6, 1.009122, 1.01737),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_ladders_follow_from_the_rules(name: str):
    """arXiv:2006.09011's settings: the ratio, what Langevin leaves, and that their step is where it leaves least."""
    sigma_max, levels, updates, step_size, ratio, left = PUBLISHED[name]
    found = (sigma_max / 0.01) ** (1 / (levels - 1))
    assert found == pytest.approx(ratio, abs=1e-6)
    assert variance_left(found, updates, step_size, 0.01) == pytest.approx(left, abs=1e-5)
    assert best_step(found, updates, 0.01) == pytest.approx(step_size, rel=0.02)


def test_the_overlap_of_the_published_cifar_ladder():
    assert covered(3072, 1.037559) == pytest.approx(0.567, abs=5e-4)
    assert covered(3072, best_ratio(3072)) == pytest.approx(0.5, abs=1e-9)
    assert best_ratio(2) == 2


def test_a_ladder_is_chosen_from_data_and_printed_as_a_recipe():
    x = Random(0).uniform((1500, 1, 8, 8)).float()
    flat = x.flatten(1)
    far = max(float((flat - row).norm(dim=1).max()) for row in flat)
    assert largest_distance(x) == pytest.approx(far, rel=1e-5)
    chosen = ncsn_levels(x)
    assert chosen.sigma_max == pytest.approx(far, rel=1e-5)
    assert chosen.overlap >= 0.5 > covered(64, (chosen.sigma_max / 0.01) ** (1 / (chosen.steps - 2)))
    import tomllib

    tables = tomllib.loads(str(chosen))
    recipe = Recipe.find("digits").with_tables(schedule=tables["schedule"], sampler=tables["sampler"])
    schedule: Any = build.process(recipe).schedule
    plan = recipe_defaults(recipe)
    assert plan.sampler == AnnealedLangevin("ncsnv2", float(f"{chosen.step_size:.3g}"), 5, 0.01)
    assert plan.steps == schedule.steps == chosen.steps
    assert schedule.sigma_max == pytest.approx(far, rel=1e-5)


TOKENS = TokenOracle(Categorical(LogLinear(), uniform(2)), torch.tensor([[0], [1]]), [0.5, 0.5])
ONE = torch.zeros(1, 1)


@pytest.mark.each(
    ("make", "message"),
    [
        (lambda: AnnealedLangevin("v3"), "annealed_langevin has conventions ncsn and ncsnv2, not 'v3'"),  # type: ignore[arg-type]
        (
            lambda: AnnealedLangevin(updates=0),
            "needs updates >= 1, step_size > 0 and sigma_last > 0, not 0, 2e-05 and 0.01",
        ),
        (lambda: AnnealedLangevin(step_size=0.0), "needs updates >= 1, step_size > 0 and sigma_last > 0, not 100, 0"),
        (lambda: AnnealedLangevin(sigma_last=-1.0), "step_size > 0 and sigma_last > 0, not 100, 2e-05 and -1"),
        (lambda: sample(TOKENS, (1, 1), sampler=AnnealedLangevin()), "annealed_langevin is for values"),
        (lambda: langevin(torch.neg, ONE, 0.0, 1, Random(0)), "langevin needs step > 0, temperature >= 0 and updates"),
        (lambda: langevin(torch.neg, ONE, 0.1, 0, Random(0)), "and updates >= 1, not 0.1, 1 and 0"),
        (lambda: langevin(torch.neg, ONE, 0.1, 1, Random(0), temperature=-1), "not 0.1, -1 and 1"),
        (lambda: widened(0.5, 1.0), "langevin diverges on a normal of variance 0.5 from step 1, not 1"),
        (
            lambda: stochastic_gradient_langevin(lambda x, rows: x, 5, ONE, lambda i: 0.1, 1, Random(0), batch=6),
            "a batch of stochastic-gradient Langevin has 1 to 5 of its 5 data, not 6",
        ),
        (lambda: Geometric(steps=1), "geometric needs 2 levels or more and 0 < sigma_min < sigma_max, not 1 levels"),
        (lambda: Geometric(sigma_min=1.0), "geometric needs 2 levels or more .* from 1 to 1"),
        (lambda: Geometric(sigma_min=0.0), "geometric needs 2 levels or more .* from 0 to 1"),
        (lambda: Geometric(sigma_min=-1.0), "geometric needs 2 levels or more .* from -1 to 1"),
        (
            lambda: ncsn_levels(torch.eye(3), sigma_min=2.0),
            "a ladder needs 0 < sigma_min < 1.41421, the data's largest distance",
        ),
        (lambda: ncsn_levels(torch.eye(3), sigma_min=0.0), "a ladder needs 0 < sigma_min < 1.41421"),
        (
            lambda: ncsn_levels(torch.eye(3), updates=0),
            "levels that fall, updates >= 1 and sigma_min > 0; not a ratio of",
        ),
        (lambda: best_step(1.0, 5, 0.01), "levels that fall, updates >= 1 and sigma_min > 0; not a ratio of 1, 5"),
        (lambda: best_ratio(64, 1.0), "the overlap of two levels lies between 0 and 0.99, not 1"),
        (
            lambda: largest_distance(torch.zeros(1, 2)),
            "the largest pairwise distance needs 2 to 20,000 data, not 1: give",
        ),
    ],
)
def test_meaningless_requests_are_refused(make: Callable[[], Any], message: str):
    with pytest.raises(Refused, match=message):
        make()
