"""Tuned grids against their known best on Gaussian data, and against the default on mixtures."""

import math
from typing import Any

import pytest
import torch
from flow_maps import GaussianMap
from torch import Tensor

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.core.process.categorical import mask
from undiffuse.grids import Published
from undiffuse.oracles import GaussianOracle, MixtureOracle, TokenOracle
from undiffuse.samplers import DDIM, Ancestral, Jump, Tuned
from undiffuse.schedules import VP, EDMSchedule, FlowSchedule, LinearBeta, LogLinear, ScaledLinearBeta
from undiffuse.tuning.fine import InBatches, fine
from undiffuse.tuning.followers import Free
from undiffuse.tuning.local_errors import least_straying

LAST = 0.002 / 80
ENDS = math.atan(80 / 0.5) - math.atan(0.002 / 0.5)


def gaussian(*variances: float) -> tuple[GaussianOracle, Tensor, Tensor]:
    """The oracle, starts one deviation from the mean in every axis at sigma 80, and where the ODE ends at 0.002."""
    cov = torch.tensor(variances, dtype=torch.float64)
    start = (cov + 80**2).sqrt().expand(8, -1)
    ends = (cov + 0.002**2).sqrt()
    return GaussianOracle(undiffuse.Gaussian(EDMSchedule()), 0.0, cov), start, ends


@pytest.mark.parametrize("steps", [4, 10])
def test_the_best_grid_of_ddim_on_gaussian_data_is_found(steps: int):
    oracle, start, ends = gaussian(0.25)
    plan = undiffuse.tune_grid(
        oracle, (8, 1), steps=steps, sampler=DDIM(), start=start, last=LAST, rounds=40, tolerance=1e-9
    )
    drawn = undiffuse.sample(oracle, (8, 1), sampler=plan.sampler, times=plan.times, start=start)
    assert float(drawn[0] / ends) == pytest.approx(math.cos(ENDS / steps) ** steps, abs=1e-5)
    known = [0.5 * math.tan(math.atan(80 / 0.5) - i * ENDS / steps) for i in range(steps + 1)]
    assert (80 * plan.times).tolist() == pytest.approx(known, rel=0.01)
    assert plan.tuned


def test_the_best_grid_of_two_axes_is_found():
    """0.0522453; the best grid of the wider axis alone has 0.0524097."""
    oracle, start, ends = gaussian(1.0, 0.01)
    plan = undiffuse.tune_grid(
        oracle, (8, 2), steps=5, sampler=DDIM(), start=start, last=LAST, rounds=40, tolerance=1e-9
    )
    drawn = undiffuse.sample(oracle, (8, 2), sampler=plan.sampler, times=plan.times, start=start)
    assert float((drawn - ends)[0].square().sum()) == pytest.approx(0.0522453, rel=1e-4)
    assert (80 * plan.times[1:-1]).tolist() == pytest.approx([2.9113, 1.3176, 0.68897, 0.29342], rel=0.01)


def mixture() -> MixtureOracle:
    means = torch.tensor([[1.0, 0.3, 0.0], [-0.8, 0.9, 0.5], [0.2, -1.0, -0.4]], dtype=torch.float64)
    return MixtureOracle(undiffuse.Gaussian(VP()), [0.3, 0.4, 0.3], means, torch.tensor([0.05, 0.1, 0.02]).double())


def test_a_tuned_plan_is_nearer_on_starts_that_it_was_not_tuned_on():
    oracle, steps = mixture(), 5
    plan = undiffuse.tune_grid(oracle, (240, 3), steps=steps, rounds=3)
    new = undiffuse.Random(1).normal((300, 3), dtype=torch.float64)
    end = undiffuse.sample(oracle, (), start=new, steps=100)

    def error(**how: Any) -> float:
        return float((undiffuse.sample(oracle, (), start=new, **how) - end).square().mean(1).sqrt().mean())

    usual, tuned = error(steps=steps), error(sampler=plan.sampler, times=plan.times)
    assert tuned < 0.6 * usual
    assert plan.error < plan.default_error
    assert "tuned: error" in str(plan)


def test_the_default_stays_where_nothing_is_better():
    """One step has no times to move."""
    plan = undiffuse.tune_grid(mixture(), (16, 3), steps=1, sampler=DDIM())
    assert not plan.tuned
    assert plan.error == plan.default_error
    assert plan.times.tolist() == [1.0, 0.0]
    assert "the default, which tuning did not improve" in str(plan)


def test_a_flow_map_keeps_its_own_jumps():
    """An exact one has nothing to gain."""
    plan = undiffuse.tune_grid(GaussianMap(FlowSchedule(), 0.2), (8, 1), steps=2, rounds=1)
    assert isinstance(plan.sampler, Jump)
    assert plan.default_error < 1e-4


def test_the_fine_trajectory_is_known_between_its_times():
    oracle, start, _ = gaussian(0.25)
    known = fine(InBatches(oracle), start, {}, 4, last=LAST)
    for sigma in (79.0, 10.0, 1.0, 0.3, 0.004):
        exact = start[:3] * math.sqrt((0.25 + sigma**2) / (0.25 + 80**2))
        torch.testing.assert_close(known.at(torch.tensor(sigma / 80, dtype=torch.float64), 3), exact, rtol=1e-4, atol=0)
    grid = least_straying(known, 5)
    assert bool((grid.diff() < 0).all())
    assert (float(grid[0]), float(grid[-1])) == (1.0, LAST)
    assert len(least_straying(known, 100)) == 101


def test_a_known_start_of_a_shifted_walk_changes_nothing():
    """Derivatives are taken from the step that a value changes on: the end is that of the whole walk."""
    oracle = mixture()
    start = undiffuse.Random(0).normal((8, 3), dtype=torch.float64)
    known = fine(InBatches(oracle), start, {}, 8)
    way = Free(known, 8, 3, 4)
    levels = -known.schedule.log_snr(torch.tensor([0.7, 0.4, 0.1], dtype=torch.float64)) / 2
    values = way.values(levels, [[1.0], [1.4, -0.4], [1.2, -0.3, 0.1], [1.1, -0.1, 0.0]])
    stands = way.follow(values)
    for k in range(len(values)):
        aside = values.clone()
        aside[k] += 1e-3
        short = way.follow(aside, way.known(stands, aside, k))[-1].x
        torch.testing.assert_close(short, way.follow(aside)[-1].x, rtol=1e-9, atol=1e-12)


def test_what_cannot_be_tuned_is_refused():
    oracle = mixture()
    with pytest.raises(Refused, match="ancestral draws fresh noise, or goes by a tolerance, and a tuned grid follows"):
        undiffuse.tune_grid(oracle, (16, 3), steps=3, sampler=Ancestral())
    with pytest.raises(Refused, match="4 starts are too few to tune on, to choose and to report: at least 8"):
        undiffuse.tune_grid(oracle, (4, 3), steps=3)
    with pytest.raises(Refused, match=r"a plan of 65 steps cannot be tuned: .* 128 steps, and takes 64 at most"):
        undiffuse.tune_grid(oracle, (16, 3), steps=65)
    with pytest.raises(Refused, match="sampling needs at least 1 step, not 0"):
        undiffuse.tune_grid(oracle, (16, 3), steps=0)
    for jumps, message in (
        ("data", "a consistency function.*it follows no ODE; undiffuse.tuning.multistep_times finds"),
        ("fixed", "its only times are"),
    ):
        oracle.jumps = jumps
        with pytest.raises(Refused, match=message):
            undiffuse.tune_grid(oracle, (16, 3), steps=3)
    tokens = TokenOracle(undiffuse.Categorical(LogLinear(), mask(3)), torch.tensor([[0, 1], [1, 1]]), [0.5, 0.5])
    with pytest.raises(Refused, match="a grid is tuned for values"):
        undiffuse.tune_grid(tokens, (16, 2), steps=3)


def test_coefficients_are_for_their_own_steps():
    oracle = mixture()
    plan = Tuned((1.0, 0.4, 0.0), ((1.0,), (1.2, -0.2)))
    start = undiffuse.Random(0).normal((4, 3), dtype=torch.float64)
    for times, message in (
        ([1.0, 0.5, 0.0], "step 1 of this plan was tuned from t = 1 to 0.4, not from 1 to 0.5: take the grid `listed`"),
        ([1.0, 0.4, 0.2, 0.0], "step 2 of this plan was tuned from t = 0.4 to 0, not from 0.4 to 0.2"),
    ):
        with pytest.raises(Refused, match=message):
            undiffuse.sample(oracle, (), sampler=plan, times=torch.tensor(times, dtype=torch.float64), start=start)
    for times, rows in (((1.0, 0.0), ()), ((1.0, 0.5, 0.0), ((1.0,), ())), ((0.0, 1.0), ((1.0,),))):
        with pytest.raises(Refused, match="tuned takes falling times, and for each step between them a row"):
            Tuned(times, rows)
    usual = undiffuse.sample(oracle, (), sampler=Tuned(), steps=5, start=start)
    torch.testing.assert_close(usual, undiffuse.sample(oracle, (), sampler=DDIM(), steps=5, start=start))


def test_published_lists_are_those_of_their_models():
    """Figures: the lists as released; Stable Diffusion's in steps of its table are 999, 850, 736, 645, 545 ..."""
    schedule = ScaledLinearBeta()
    times = Published("ays_sd")(schedule, 10)
    steps = [999, 850, 736, 645, 545, 455, 343, 233, 124, 24]
    assert (1000 * times[:-1] - 1).tolist() == pytest.approx(steps, abs=1.5)
    half = Published("ays_sd")(schedule, 5)
    assert half[:-1].tolist() == pytest.approx(times[:-1:2].tolist())
    sigmas = (-schedule.log_snr(Published("ays_sdxl")(schedule, 20)[:-1]) / 2).exp()
    assert float(sigmas[1]) == pytest.approx(math.sqrt(14.615 * 6.315), rel=1e-4)
    assert (80 * Published("gits_cifar10")(EDMSchedule(), 6)).tolist() == pytest.approx(
        [80, 10.9836, 3.8811, 1.584, 0.5666, 0.1698, 0]
    )
    with pytest.raises(Refused, match=r"ays_sd was found for Stable Diffusion 1.5 .* schedule's ends at 157.4: tune"):
        Published("ays_sd")(LinearBeta(), 10)
    with pytest.raises(Refused, match="ays_svd was found for Stable Video Diffusion"):
        Published("ays_svd")(EDMSchedule(), 10)
