"""Adams: the order it claims, the corrector that earns its place, and a step onto data as good as the others."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from undiffuse.core.oracles import MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.core.schedule import Schedule
from undiffuse.samplers.adams import Adams
from undiffuse.samplers.ddim import DDIM
from undiffuse.schedules.edm import EDMSchedule
from undiffuse.schedules.flow import FlowSchedule
from undiffuse.schedules.vp import VP


def mixture(schedule: Schedule) -> MixtureOracle:
    means = torch.tensor([[-0.6, 0.4], [0.7, -0.5], [0.2, 0.9]], dtype=torch.float64)
    return MixtureOracle(Gaussian(schedule), [0.3, 0.5, 0.2], means, torch.tensor([0.04, 0.09, 0.06]))


def start(oracle: MixtureOracle) -> Tensor:
    return oracle.process.prior((32, 2)).sample(Random(3)).double()


@cache
def end(schedule: Schedule) -> Tensor:
    """Where the ODE takes the start, by many steps."""
    oracle = mixture(schedule)
    return sample(oracle, (32, 2), sampler=Adams(), steps=240, start=start(oracle))


def errors(sampler: Adams, schedule: Schedule, counts: tuple[int, ...]) -> list[float]:
    oracle = mixture(schedule)
    found = [sample(oracle, (32, 2), sampler=sampler, steps=n, start=start(oracle)) for n in counts]
    return [float((x - end(schedule)).norm()) for x in found]


@pytest.mark.parametrize("schedule", [VP(), EDMSchedule(), FlowSchedule()], ids=repr)
def test_on_the_default_grid_down_to_data_the_error_falls_as_between_two_noise_levels(schedule: Schedule):
    coarse, fine = errors(Adams(), schedule, (30, 60))
    assert torch.tensor(coarse / fine).log2() > 3.3


def test_the_corrector_costs_no_call_and_lowers_the_error():
    for plain, corrected in zip(errors(Adams(3, 0), VP(), (20, 40)), errors(Adams(3, 4), VP(), (20, 40)), strict=True):
        assert corrected < plain


def test_first_order_is_ddim():
    oracle = mixture(VP())
    x = start(oracle)
    ours, ddim = (sample(oracle, (32, 2), sampler=s, steps=12, start=x) for s in (Adams(1, 0), DDIM()))
    torch.testing.assert_close(ours, ddim, rtol=1e-9, atol=1e-9)


def test_shares_integrate_polynomials_exactly():
    """A guess that is a cubic in u is followed without error: the shares give the exact means of 1 ... u^3."""
    adams, levels = Adams(), [torch.tensor(v, dtype=torch.float64) for v in (0.0, -0.5, -1.0, -1.4)]
    shares = torch.stack(list(adams.shares(levels, levels[0], torch.tensor(0.9, dtype=torch.float64))))
    r = torch.linspace(1, math.exp(0.9), 200_001, dtype=torch.float64)
    nodes = adams._u(torch.stack(levels).exp())
    for degree in range(4):
        exact = torch.trapezoid(adams._u(r) ** degree, r) / (r[-1] - r[0])
        torch.testing.assert_close(shares @ nodes**degree, exact, rtol=1e-8, atol=1e-8)


def test_a_state_that_was_changed_between_steps_stays_changed():
    """The correction is a difference, so what an editor did to x_t survives it."""
    oracle, schedule = mixture(VP()), VP()
    times = [torch.tensor(v, dtype=torch.float64) for v in (0.6, 0.5, 0.4)]
    x = start(oracle)
    first, memory = Adams().step(oracle, x, times[0], times[1], random=Random(0))
    shift = 1e-6
    plain, edited = (
        Adams().step(oracle, first.mean + d, times[1], times[2], memory, random=Random(0))[0].mean for d in (0.0, shift)
    )
    assert schedule.alpha(times[1]) > 0
    assert float((edited - plain).abs().min()) > shift * 0.1


@pytest.mark.parametrize("wrong", [{"order": 0}, {"order": 5}, {"corrector": 6}, {"knee": 0.0}, {"far": 0.0}])
def test_meaningless_fields_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="adams has order 1 to 4, corrector 0 to 5, knee > 0 and far > 0"):
        replace(Adams(), **wrong)  # type: ignore[arg-type]
