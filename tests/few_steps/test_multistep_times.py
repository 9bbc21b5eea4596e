"""Times of multistep consistency sampling, on a function whose best second step is known."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.samplers import Jump
from undiffuse.schedules import EDMSchedule, FlowSchedule
from undiffuse.tuning.fine import InBatches
from undiffuse.tuning.jump_times import JumpTuner
from undiffuse.tuning.multistep_times import multistep_times

DOUBLE: dict[str, Any] = {"dtype": torch.float64}
DATA = 0.5 * Random(7).normal((4000, 2), **DOUBLE)


def off(ratio: Tensor) -> Tensor:
    return 0.02 * ratio.log().clamp(-4, 4) ** 2


class Flawed(Denoiser):
    """The consistency function of N(0, 1/4), with an error that is least at one noise level."""

    jumps = "data"

    def __init__(self, best: float, schedule: Any = None) -> None:
        self.process, self.best = Gaussian(schedule or EDMSchedule()), best

    def __call__(self, x_t: Tensor, t: Any, *, to: Any = None, **cond: Any) -> Normal:
        alpha, sigma = self.process.schedule.at(t, x_t)
        return Normal(0.5 * x_t / (0.25 * alpha**2 + sigma**2).sqrt() * (1 + off(sigma / alpha / self.best)))


@pytest.mark.parametrize("schedule", [EDMSchedule(), FlowSchedule()], ids=lambda s: type(s).__name__)
def test_the_best_second_level_is_found(schedule: Any):
    seen: list[tuple[int, int]] = []
    denoiser = Flawed(0.9, schedule)
    found = multistep_times(denoiser, DATA, 2, report=lambda done, total: seen.append((done, total)))
    alpha, sigma = denoiser.process.schedule.both(torch.tensor(found.times[1], **DOUBLE))
    levels = torch.linspace(math.log(0.1), math.log(60), 4001, **DOUBLE).exp()
    first = 0.5 * (1 + 0.02 * 16)
    after = 0.5 * ((first**2 + levels**2) / (0.25 + levels**2)).sqrt() * (1 + off(levels / 0.9))
    wanted = float(levels[(after - 0.5).abs().argmin()])
    assert abs(math.log(float(sigma / alpha) / wanted)) < 0.25
    assert found.distances[1] < 0.3 * found.distances[0]
    assert found.times[0] == 1
    assert found.times[2] == 0
    assert 0 < found.floor < found.distances[0]
    assert seen == [(i, 22) for i in range(1, 23)]


def test_further_steps_follow_and_never_rise():
    found = multistep_times(Flawed(0.9), DATA[:400], 3)
    assert list(found.times) == sorted(found.times, reverse=True)
    assert len(found.distances) == 3


def test_a_plan_is_judged_on_items_that_it_was_not_chosen_on():
    tuner = JumpTuner(InBatches(Flawed(0.9)), DATA, {})
    bad = Jump(fresh=1.0), torch.tensor([1.0, 1e-3, 0.0], **DOUBLE)
    plan = tuner.plan(2, bad)
    assert plan.tuned
    assert plan.error < 0.5 * plan.default_error
    assert tuner.denoiser.calls == JumpTuner.all_calls(len(DATA), [2])
    stays = tuner.plan(2, (Jump(fresh=1.0), plan.times))
    assert not stays.tuned
    assert stays.error == stays.default_error
    assert not JumpTuner(InBatches(Flawed(0.9)), DATA, {}, stopped=lambda: True).plan(2, bad).tuned


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: multistep_times(GaussianOracle(Gaussian(EDMSchedule())), DATA, 2),
            "multistep times are of consistency functions, and this model is an ordinary denoiser",
        ),
        (lambda: multistep_times(Flawed(1.0), DATA, 0), "steps of 1 or more and 16 items or more, not 0 and 4000"),
        (lambda: multistep_times(Flawed(1.0), DATA[:9], 2), "not 2 and 9"),
    ],
)
def test_what_has_no_such_times_is_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()
