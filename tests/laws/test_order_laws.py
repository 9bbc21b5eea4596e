"""Orders of convergence, measured in float64 against the exact map of the probability-flow ODE."""

import math
from functools import cache
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.oracles import MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import trajectory
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule
from undiffuse.grids.logistic import Logistic
from undiffuse.samplers import DDIM, Euler, Multistep, ProbabilityFlow
from undiffuse.schedules import VP, ContinuousCosine, EDMSchedule, FlowSchedule

WEIGHTS, MEANS, VARIANCES = (torch.tensor(v, dtype=torch.float64) for v in ((0.3, 0.7), (-0.6, 0.5), (0.09, 0.09)))
QUANTILES = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
ENDS: list[tuple[Schedule, float, float]] = [
    (VP(), 0.8, 0.1),
    (FlowSchedule(), 0.9, 0.2),
    (EDMSchedule(), 0.05, 0.005),
]


def quantile(schedule: Schedule, t: Tensor) -> Tensor:
    """In one dimension the ODE carries quantiles of q(x_t) to quantiles: by bisection, (n, 1)."""
    return found_quantile(schedule, float(t)).clone()


@cache
def found_quantile(schedule: Schedule, t: float) -> Tensor:
    alpha, sigma = schedule.at(t, QUANTILES)
    std = (alpha**2 * VARIANCES + sigma**2).sqrt()
    low, high = torch.full_like(QUANTILES, -60), torch.full_like(QUANTILES, 60)
    for _ in range(70):
        middle = (low + high) / 2
        below = (WEIGHTS * torch.special.ndtr((middle[:, None] - alpha * MEANS) / std)).sum(-1) < QUANTILES
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return ((low + high) / 2)[:, None]


def slopes(
    sampler: Sampler, schedule: Schedule, start: float, end: float, counts: tuple[int, ...], history: int
) -> list[float]:
    """log2 of the factors by which the error falls as steps double;
    the first `history` states come from the exact map.
    """
    oracle = MixtureOracle(Gaussian(schedule), WEIGHTS, MEANS[:, None], VARIANCES)
    ends = schedule.log_snr(torch.tensor([start, end], dtype=torch.float64))
    errors: list[float] = []
    for steps in counts:
        share = torch.arange(steps + 1, dtype=torch.float64) / steps
        times = schedule.time(
            ends[0] + (ends[1] - ends[0]) * (share + 0.3 * share * (1 - share))
        )  # uneven: r_0, r_1 differ from 1
        memory: Any = None
        x = quantile(schedule, times[0])
        for i, (t, s) in enumerate(pairwise(times)):
            belief, memory = sampler.step(oracle, x, t, s, memory, random=Random(0))
            x = quantile(schedule, s) if i < history else belief.mean
        errors.append(float((x - quantile(schedule, times[-1])).abs().max()))
    return [math.log2(a / b) for a, b in pairwise(errors)]


SCHEDULES = pytest.mark.parametrize(
    ("schedule", "start", "end"), ENDS, ids=lambda v: type(v).__name__ if isinstance(v, Schedule) else str(v)
)


def test_order_of_convergence(sampler_of_any_order: Sampler):
    """Every sampler that states an order has it, with an exact history, so that its own order shows and not that of its
    first steps.
    """
    order = sampler_of_any_order.convergence_order
    if not order:  # fresh noise, or a tolerance
        return
    counts = {1: (12, 24), 2: (36, 72)}.get(order, (24, 48))  # where rounding does not count yet
    for schedule, start, end in ENDS:
        measured = slopes(sampler_of_any_order, schedule, start, end, counts=counts, history=order)
        assert order - 0.3 < measured[-1] < order + 0.6, (schedule, measured)


def test_a_sampler_states_an_order_just_if_it_draws_no_noise(sampler: Sampler):
    """But one whose error is set by a tolerance."""
    oracle = MixtureOracle(Gaussian(VP()), WEIGHTS, MEANS[:, None], VARIANCES)
    t, s = (torch.tensor(u, dtype=torch.float64) for u in (0.7, 0.5))
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    ends = [sampler.step(oracle, x, t, s, random=Random(seed))[0].sample(Random(seed)) for seed in (1, 2)]
    assert torch.equal(*ends) == (bool(sampler.convergence_order) or isinstance(sampler, ProbabilityFlow))


@SCHEDULES
def test_an_adaptive_solver_keeps_its_tolerance(schedule: Schedule, start: float, end: float):
    """The tolerance is of each inner step; what all of them leave in x_s is below a hundred times it."""
    oracle = MixtureOracle(Gaussian(schedule), WEIGHTS, MEANS[:, None], VARIANCES)
    times = torch.tensor([start, end], dtype=torch.float64)
    x, there = (quantile(schedule, u) for u in times)
    for tolerance in (1e-4, 1e-7):
        *_, found = trajectory(oracle, ProbabilityFlow(tolerance, tolerance), x, times, random=Random(0))
        assert float((found - there).abs().max()) < 100 * tolerance


@pytest.mark.parametrize("schedule", [EDMSchedule(20.0), FlowSchedule(), VP()], ids=lambda s: type(s).__name__)
def test_on_the_default_grid_order_three_is_better_than_two_and_falls_short_of_an_eighth(schedule: Schedule):
    """docs/choose.md: its last steps are long in log-SNR, and the last of all is of first order."""
    oracle = MixtureOracle(Gaussian(schedule), WEIGHTS, MEANS[:, None], VARIANCES)
    start, end = (quantile(schedule, torch.tensor(t, dtype=torch.float64)) for t in (1.0, 0.0))
    errors: dict[int, list[float]] = {}
    for order, steps in product((2, 3), (80, 160)):
        times = Logistic()(schedule, steps)
        *_, x = trajectory(oracle, Multistep(order), start, times, random=Random(0))
        errors.setdefault(order, []).append(float((x - end).abs().mean()))
    for order, (low, high) in ((2, (3.0, 4.5)), (3, (4.0, 6.5))):
        assert all(low < a / b < high for a, b in pairwise(errors[order])), errors
    assert errors[3][-1] < 0.95 * errors[2][-1]


def test_ddim_euler_and_first_order_multistep_are_the_same_map():
    oracle = MixtureOracle(Gaussian(VP()), WEIGHTS, MEANS[:, None], VARIANCES)
    x, times = Random(0).normal((5, 1), dtype=torch.float64), torch.linspace(1, 0, 9, dtype=torch.float64)
    ends = [
        list(trajectory(oracle, sampler, x, times, random=Random(0)))[-1]
        for sampler in (DDIM(), Euler(), Multistep(order=1))
    ]
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(ends[2], ends[0], rtol=0, atol=1e-12)


def test_the_samplers_agree_on_what_the_schedule_does_not_change():
    """A deterministic first-order run depends on alpha and sigma through x/alpha over sigma/alpha only
    (arXiv:2206.00364, eq. 4).
    """
    ratios = torch.tensor([5.0, 2.0, 0.7, 0.2], dtype=torch.float64)
    ends: list[Tensor] = []
    for schedule in (VP(), FlowSchedule(), EDMSchedule(), ContinuousCosine()):
        times = torch.cat([schedule.time(-2 * ratios.log()), torch.zeros(1, dtype=torch.float64)])
        oracle = MixtureOracle(Gaussian(schedule), WEIGHTS, MEANS[:, None], VARIANCES)
        x = 5 * schedule.alpha(times[0]) * Random(0).normal((5, 1), dtype=torch.float64)
        ends.append(list(trajectory(oracle, DDIM(), x, times, random=Random(0)))[-1])
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=0, atol=1e-9)
