"""The exact flow maps that few-step models are measured by: closed forms, and what makes a map one."""

import math
from itertools import pairwise

import pytest
import torch
from flow_maps import APART, GaussianMap, MixtureMap, distance, landed
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.random import Random
from undiffuse.core.sample import sample, trajectory
from undiffuse.grids.even import Even
from undiffuse.samplers import DDIM, Jump
from undiffuse.schedules import VP, EDMSchedule, FlowSchedule


def average_velocity(denoiser: Denoiser, z: float, t: float, r: float) -> float:
    """u(z, r, t) of the straight path: (z - where the jump lands) / (t - r)."""
    x = torch.tensor([[z]], dtype=torch.float64)
    return float(x - landed(denoiser, x, t, r)) / (t - r)


@pytest.mark.parametrize(
    ("t", "r", "expected"),
    [
        (1.0, 0.0, 0.5),
        (1.0, 0.5, 0.88196601),
        (0.5, 0.0, 0.21114562),
        (0.75, 0.25, 0.81450204),
        (0.8, 0.2, 0.74216634),
        (0.3, 0.1, 0.0),
    ],
)
def test_average_velocities_of_gaussian_data(t: float, r: float, expected: float):
    """Data N(0, 1/4): s_t^2 = (1 - t)^2 / 4 + t^2, u / z = (s_t - s_r) / (s_t (t - r)). The guess says the same."""
    exact = GaussianMap(FlowSchedule())
    assert average_velocity(exact, 1.0, t, r) == pytest.approx(expected, abs=1e-8)
    one = torch.ones(1, 1, dtype=torch.float64)
    assert float(1 - exact(one, t, to=r).mean) / t == pytest.approx(expected, abs=1e-8)
    shifted = GaussianMap(FlowSchedule(), mean=2.0)
    assert average_velocity(shifted, 1.3, 0.75, 0.25) == pytest.approx(-1.34839837, abs=1e-8)


def test_one_jump_keeps_the_spread_that_one_step_of_an_ode_loses():
    exact = GaussianMap(FlowSchedule())
    x = torch.ones(1, 1, dtype=torch.float64)
    one = Even()(FlowSchedule(), 1)
    ends = [float(list(trajectory(exact, by, x, one, random=Random(0)))[-1]) for by in (Jump(), DDIM())]
    assert ends == pytest.approx([0.5, 0.0], abs=1e-12)


@pytest.mark.parametrize(
    ("z", "t", "r", "expected"),
    [
        (0.1, 1.0, 0.0, -0.7592609),
        (0.5, 1.0, 0.0, -0.4702192),
        (1.3, 1.0, 0.0, 0.2135297),
        (0.5, 1.0, 0.5, 0.2033302),
        (0.5, 0.5, 0.0, -0.9883168),
    ],
)
def test_average_velocities_of_a_mixture(z: float, t: float, r: float, expected: float):
    assert average_velocity(MixtureMap(FlowSchedule(), APART), z, t, r) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("schedule", [VP(), EDMSchedule(), FlowSchedule()], ids=lambda s: type(s).__name__)
def test_paths_of_exact_maps_have_no_seams(schedule: FlowSchedule):
    """Two jumps are one, where the path leads does not depend on where it is entered, and no jump stays."""
    for exact in (MixtureMap(schedule), GaussianMap(schedule, 0.3)):
        x = Random(0).normal((6, 1), dtype=torch.float64)
        far = exact.moved(x, 0.5, 0.0)
        torch.testing.assert_close(exact.moved(exact.moved(x, 0.5, 0.2), 0.2, 0.0), far, rtol=0, atol=1e-7)
        torch.testing.assert_close(landed(exact, exact.moved(x, 0.5, 0.2), 0.2, 0.0), far, rtol=0, atol=1e-7)
        torch.testing.assert_close(exact.moved(x, 0.5, 0.5), x, rtol=0, atol=1e-9)
        torch.testing.assert_close(exact(x, 0.5, to=0.5).mean, exact(x, 0.5).mean, rtol=0, atol=0)


def test_the_exact_map_follows_the_ode_of_the_exact_denoiser():
    exact = MixtureMap(FlowSchedule())
    x = exact.quantiles(9, 0.9)
    fine = torch.linspace(0.9, 0.1, 400, dtype=torch.float64)
    *_, end = trajectory(exact, DDIM(), x, fine, random=Random(0))
    torch.testing.assert_close(end, exact.moved(x, 0.9, 0.1), rtol=0, atol=3e-3)


@pytest.mark.parametrize("fresh", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("schedule", [VP(), EDMSchedule(), FlowSchedule()], ids=lambda s: type(s).__name__)
def test_jumps_of_an_exact_map_keep_the_law_of_the_data_at_any_count(schedule: FlowSchedule, fresh: float):
    """A jump is affine for Gaussian data: its variance at the end is the sum of squared slopes, by hand."""
    exact = GaussianMap(schedule, 0.3, 0.5)
    for steps in (1, 2, 5):
        mean, variance = _law(exact, Jump(fresh), Even()(schedule, steps))
        assert mean == pytest.approx(0.3, abs=1e-9)
        assert math.sqrt(variance) == pytest.approx(0.5, abs=1e-9)


def _law(exact: GaussianMap, sampler: Jump, times: Tensor) -> tuple[float, float]:
    """The mean and the variance of the end, from those of the start step by step."""
    alpha, sigma = (float(each) for each in exact.process.schedule.both(times[0]))
    mean, variance = alpha * exact.mean, alpha**2 * exact.std**2 + sigma**2
    for t, s in pairwise(times):
        points = torch.tensor([[mean], [mean + 1.0]], dtype=torch.float64)
        step, _ = sampler.step(exact, points, t, s, random=Random(0))
        slope = float(step.mean[1] - step.mean[0])
        mean, variance = float(step.mean[0]), slope**2 * variance + float(torch.as_tensor(step.var).max())
    return mean, variance


def test_what_is_drawn_by_jumps_is_the_data():
    exact = MixtureMap(VP())
    drawn = sample(exact, (4000, 1), steps=2, sampler=Jump(0.6))
    ranks = exact.cdf(drawn.double().sort(0).values, 0.0).flatten()
    assert float((ranks - (torch.arange(4000) + 0.5) / 4000).abs().max()) < 0.03
    assert distance(exact, exact) < 1e-5
    assert distance(exact, exact, (1.0, 0.4, 0.0)) < 1e-5
