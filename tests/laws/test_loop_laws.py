"""Laws of the loop: what it refuses, what it defaults to, and that nothing happens behind one's back."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused, near, unknown
from undiffuse.core.oracles import GaussianOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, mask
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample, trajectory
from undiffuse.grids.even import Even
from undiffuse.grids.karras import Karras
from undiffuse.grids.trailing import Trailing
from undiffuse.guidance import ClassifierFree
from undiffuse.samplers import DDIM, Ancestral
from undiffuse.schedules import VP, ContinuousCosine, EDMSchedule, LogLinear

ORACLE = GaussianOracle(Gaussian(VP()), 0.3, 0.25)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1.0], r"a grid of times needs at least two of them, from noise to data; got shape \(1,\)"),
        ([[1.0, 0.0]], r"a grid of times needs at least two of them"),
        ([0.0, 1.0], r"a grid of times must fall strictly inside \[0, 1\] \(1 = noise, 0 = data\); got \[0.0, 1.0\]"),
        ([1.0, 0.5, 0.5, 0.0], r"a grid of times must fall strictly"),
        ([1.5, 0.0], r"a grid of times must fall strictly inside \[0, 1\]"),
        ([1.0, -0.1], r"a grid of times must fall strictly inside \[0, 1\]"),
        ([1.0, float("nan"), 0.0], r"a grid of times must fall strictly inside \[0, 1\]"),
    ],
)
def test_grids_that_do_not_fall_are_refused(times: Any, message: str):
    with pytest.raises(Refused, match=message):
        sample(ORACLE, (1, 1), sampler=DDIM(), times=torch.tensor(times))
    with pytest.raises(Refused, match=message):
        list(trajectory(ORACLE, DDIM(), torch.zeros(1, 1), torch.tensor(times), random=Random(0)))


def test_steps_and_times_that_disagree_are_refused():
    with pytest.raises(Refused, match="steps = 3 and a grid of 2 steps contradict each other; give one of them"):
        sample(ORACLE, (1, 1), sampler=DDIM(), steps=3, times=Even()(VP(), 2))
    for steps in (0, -1):
        with pytest.raises(Refused, match=f"sampling needs at least 1 step, not {steps}"):
            sample(ORACLE, (1, 1), sampler=Ancestral(), steps=steps)


def test_a_shape_with_a_negative_number_is_refused():
    for denoiser, shape, shown in (
        (ORACLE, (-1, 2), r"\(-1, 2\)"),
        (ORACLE, (2, -3), r"\(2, -3\)"),
        (ORACLE, {"x": (1, 2), "y": (1, -2)}, r"\{'x': \(1, 2\), 'y': \(1, -2\)\}"),
    ):
        with pytest.raises(Refused, match=rf"a batch has a shape of sizes from 0 on, .*; got {shown}"):
            sample(denoiser, shape, steps=2)


def test_noise_prediction_cannot_start_where_nothing_is_left():
    denoiser = Predictor(nn.Identity(), Gaussian(ContinuousCosine()), "noise")
    denoiser.network.forward = lambda x, c_time: x  # type: ignore[method-assign]
    with pytest.raises(
        Refused,
        match="noise prediction is undefined where alpha = 0: nothing of the data is left; use velocity or data",
    ):
        sample(denoiser, (1, 2), sampler=DDIM(), times=Even()(VP(), 3))
    start = torch.zeros(1, 2)
    assert sample(denoiser, (1, 2), sampler=DDIM(), times=torch.tensor([0.9, 0.4, 0.0]), start=start).shape == (1, 2)


def test_a_sampler_with_a_grid_of_its_own_brings_it():
    @dataclass(frozen=True)
    class Own(DDIM):
        grid: ClassVar[str] = "trailing"
        default_steps: ClassVar[int] = 7

    wanted = sample(ORACLE, (3, 1), sampler=DDIM(), times=Trailing()(VP(), 7))
    assert torch.equal(sample(ORACLE, (3, 1), sampler=Own()), wanted)
    assert torch.equal(sample(ORACLE, (3, 1), sampler=Own(), steps=7), wanted)
    assert not torch.equal(sample(ORACLE, (3, 1), sampler=Own(), steps=8), wanted)


def test_a_start_in_between_is_taken_as_it_is():
    """Image-to-image: from data noised to t = 0.4 the run ends near that data."""
    x_0 = torch.full((2000, 1), 0.9, dtype=torch.float64)
    start = ORACLE.process.marginal(x_0, 0.4).sample(Random(1))
    x = sample(ORACLE, (2000, 1), sampler=Ancestral("exact"), times=torch.tensor([0.4, 0.2, 0.0]), start=start)
    alpha, sigma = (float(c) for c in VP().at(0.4, x_0))
    gain = alpha * 0.25 / (alpha**2 * 0.25 + sigma**2)
    assert float(x.mean()) == pytest.approx(0.3 + gain * alpha * 0.6, abs=0.05)
    assert x.dtype == torch.float64


def test_the_start_is_the_prior_at_the_first_time():
    """A grid that begins below 1 begins from noise of that size."""
    seen: list[float] = []

    class Spy(GaussianOracle):
        def __call__(self, x_t: Any, t: Any, **cond: Any) -> Any:
            seen.append(float(x_t.std()))
            return super().__call__(x_t, t)

    sample(Spy(Gaussian(EDMSchedule())), (4000, 1), sampler=DDIM(), times=torch.tensor([0.5, 0.1, 0.0]))
    assert seen[0] == pytest.approx(40, rel=0.05)


def test_the_default_plan_samples_values_and_tokens():
    x = sample(ORACLE, (2000, 1), steps=20)
    assert float(x.mean()) == pytest.approx(0.3, abs=0.05)
    assert float(x.std()) == pytest.approx(0.5, rel=0.1)
    oracle = TokenOracle(Categorical(LogLinear(), mask(3)), torch.tensor([[0], [1]]), [0.3, 0.7])
    assert float(sample(oracle, (2000, 1), steps=8).double().mean()) == pytest.approx(0.7, abs=0.05)


def test_sampling_builds_no_graph_and_a_trajectory_may():
    network = nn.Linear(2, 2)
    denoiser = Predictor(network, Gaussian(VP()), "data")
    network.forward = lambda x, c_time: nn.functional.linear(x, network.weight)  # type: ignore[method-assign]
    times = Karras()(VP(), 3)
    assert not sample(denoiser, (1, 2), sampler=DDIM(), times=times).requires_grad
    *_, x = trajectory(denoiser, DDIM(), torch.ones(1, 2), times, random=Random(0))
    x.sum().backward()
    assert network.weight.grad is not None
    assert float(network.weight.grad.abs().sum()) > 0


def test_samples_go_where_the_weights_are():
    """Through a wrapper too; "meta" stands for any other device."""
    denoiser = Predictor(nn.Linear(2, 2, device="meta"), Gaussian(VP()), "data")
    for each in (denoiser, ClassifierFree(ClassifierFree(denoiser, weight=2.0), weight=3.0)):
        assert each.device is not None
        assert each.device.type == "meta"
    assert ORACLE.device is None  # where its input is


def test_the_near_word_is_offered_only_when_it_is_near():
    assert near("dddim", ["ddim", "heun"]) == " (did you mean 'ddim'?)"
    assert near("zzz", ["ddim", "heun"]) == ""
    assert (
        str(unknown("samplers", "dddim", ["heun", "ddim"]))
        == "samplers has no 'dddim' (did you mean 'ddim'?); it has: ddim, heun"
    )
