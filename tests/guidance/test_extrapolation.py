"""Guidance by two guesses: where it acts, what it costs, what it leaves alone."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.categorical import Categorical, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.guidance import Autoguidance, ClassifierFree
from undiffuse.samplers import DDIM
from undiffuse.schedules import VP, EDMSchedule, LogLinear


class Counted(nn.Module):
    """Guesses its label, and 0 without one; counts the samples it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Tensor | None = None) -> Tensor:
        self.calls.append(len(x))
        value = torch.zeros(len(x)) if label is None else label.float()
        if drop is not None:
            value = torch.where(drop, 0.0, value)
        return value[:, None].expand_as(x).to(x.dtype) + 0.1 * x * (1 + value[:, None])


PROCESS = Gaussian(VP())
X, LABEL = Random(0).normal((3, 4), dtype=torch.float64), torch.tensor([1, 2, 3])


def model() -> tuple[Predictor, Counted]:
    network = Counted()
    return Predictor(network, PROCESS, "data"), network


def level(t: float) -> float:
    alpha, sigma = PROCESS.schedule.at(t, X)
    return float(sigma / alpha)


def test_outside_the_interval_there_is_no_second_call_and_no_guidance():
    denoiser, network = model()
    guided = ClassifierFree(denoiser, weight=3.0, interval=(level(0.3), level(0.6)))
    for t, calls in ((0.2, [3]), (0.3, [3]), (0.45, [6]), (0.6, [6]), (0.7, [3])):
        network.calls.clear()
        guess: Any = guided(X, t, label=LABEL)
        assert network.calls == calls, t
        plain: Any = denoiser(X, t, label=LABEL)
        assert torch.equal(guess.mean, plain.mean) == (calls == [3])


def test_an_interval_is_a_matter_of_the_noise_level_whatever_the_schedule_and_the_grid():
    calls: dict[str, int] = {}
    for schedule in (VP(), EDMSchedule()):
        network = Counted()
        denoiser = Predictor(network, Gaussian(schedule), "data")
        guided = ClassifierFree(denoiser, weight=2.0, interval=(0.5, 5.0))
        times = schedule.time(torch.linspace(-6, 6, 25, dtype=torch.float64))
        for t in times:
            guided(X, t, label=LABEL)
        calls[type(schedule).__name__] = sum(network.calls)
    assert calls["VP"] == calls["EDMSchedule"] > 25 * 3


def test_times_of_a_batch_are_guided_one_by_one():
    denoiser, _ = model()
    guided = ClassifierFree(denoiser, weight=3.1, interval=(level(0.3), level(0.6)))
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    together: Any = guided(X, t, label=LABEL)
    for i in range(3):
        alone: Any = guided(X[i : i + 1], t[i], label=LABEL[i : i + 1])
        torch.testing.assert_close(together.mean[i], alone.mean[0], rtol=0, atol=1e-14)


def test_rescale_gives_the_guess_the_spread_of_the_conditional_one():
    """arXiv:2305.08891, eq. 15 and 16."""
    denoiser, _ = model()
    plain: Any = denoiser(X, 0.5, label=LABEL)
    guided: Any = ClassifierFree(denoiser, weight=5.0)(X, 0.5, label=LABEL)
    whole: Any = ClassifierFree(denoiser, weight=5.0, rescale=1.0)(X, 0.5, label=LABEL)
    torch.testing.assert_close(whole.mean.std(1), plain.mean.std(1))
    some: Any = ClassifierFree(denoiser, weight=5.0, rescale=0.7)(X, 0.5, label=LABEL)
    torch.testing.assert_close(some.mean, 0.7 * whole.mean + 0.3 * guided.mean)


def test_projected_guidance_moves_at_right_angles_to_the_guess_and_no_further_than_it_may():
    """arXiv:2410.02416, sec. 4: with parallel = 1 and no largest it is classifier-free guidance."""
    denoiser, _ = model()
    plain: Any = denoiser(X, 0.5, label=LABEL)
    free: Any = ClassifierFree(denoiser, weight=4.0)(X, 0.5, label=LABEL)
    same: Any = ClassifierFree(denoiser, weight=4.0, largest=1e9)(X, 0.5, label=LABEL)
    torch.testing.assert_close(same.mean, free.mean)
    across: Any = ClassifierFree(denoiser, weight=4.0, parallel=0.0)(X, 0.5, label=LABEL)
    torch.testing.assert_close(((across.mean - plain.mean) * plain.mean).sum(1), torch.zeros(3, dtype=X.dtype))
    half: Any = ClassifierFree(denoiser, weight=4.0, parallel=0.5)(X, 0.5, label=LABEL)
    torch.testing.assert_close(half.mean, (free.mean + across.mean) / 2)
    short: Any = ClassifierFree(denoiser, weight=4.0, largest=0.01)(X, 0.5, label=LABEL)
    torch.testing.assert_close((short.mean - plain.mean).norm(dim=1), torch.full((3,), 0.03, dtype=X.dtype))


def test_autoguidance_with_itself_is_the_model_and_with_another_is_the_line_through_both():
    good, bad = GaussianOracle(PROCESS, 1.0, 0.25), GaussianOracle(PROCESS, 0.5, 1.0)
    good_guess, bad_guess = good(X, 0.5).mean_only(), bad(X, 0.5).mean_only()

    class Means(Denoiser):
        process = PROCESS

        def __init__(self, oracle: Denoiser) -> None:
            self.oracle = oracle

        def __call__(self, x_t: Any, t: Any, **cond: Any) -> Any:
            return self.oracle(x_t, t).mean_only()

    same: Any = Autoguidance(Means(good), Means(good), weight=2.7)(X, 0.5)
    assert torch.equal(same.mean, good_guess.mean)
    guided: Any = Autoguidance(Means(good), Means(bad), weight=2.0)(X, 0.5)
    torch.testing.assert_close(guided.mean, 2 * good_guess.mean - bad_guess.mean)
    with pytest.raises(Refused, match="needs a reference with the model's own process"):
        Autoguidance(good, GaussianOracle(Gaussian(EDMSchedule())))


def test_the_guided_guess_keeps_the_conditional_one_s_fraction_and_moves_the_mean_only():
    class Learned(Denoiser):
        process = PROCESS

        def __call__(self, x_t: Tensor, t: Any, drop: Any = None, label: Any = None, **cond: Any) -> Normal:
            told = ~drop if drop is not None else torch.ones(len(x_t), dtype=torch.bool)
            value = torch.where(told, 1.0, 0.0)[:, None].expand_as(x_t)
            return Normal(value, 0.0, 0.25 + 0.5 * value)

    for extra in ({}, {"parallel": 0.5}, {"rescale": 0.5}):
        noisy = replace(ClassifierFree(Learned(), weight=3.0), **extra)
        guess: Any = noisy(X, 0.5, label=LABEL)
        assert torch.equal(guess.fraction, torch.full_like(guess.mean, 0.75))


def test_guidance_does_not_see_the_batch():
    denoiser, _ = model()
    guided = ClassifierFree(denoiser, weight=2.0, rescale=0.5, parallel=0.3, largest=0.5)
    whole = sample(guided, (3, 4), sampler=DDIM(), steps=5, label=LABEL)
    parts = [
        sample(guided, (1, 4), sampler=DDIM(), steps=5, indices=torch.tensor([i]), label=LABEL[i : i + 1])
        for i in range(3)
    ]
    torch.testing.assert_close(whole, torch.cat(parts))


@pytest.mark.parametrize("x", [torch.tensor([[2.0], [-1.0]]), torch.full((2, 5), 0.1)], ids=["one", "equal"])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_rescale_leaves_samples_alone_that_have_no_spread(x: Tensor, share: float):
    """Of one number, or of equal ones, a deviation says nothing."""
    better, worse = GaussianOracle(PROCESS, 1.0, 0.25), GaussianOracle(PROCESS, 0.0, 1.25)
    plain: Any = ClassifierFree(better, without=worse, weight=2.0)(x, 0.4)
    found: Any = ClassifierFree(better, without=worse, weight=2.0, rescale=share)(x, 0.4)
    assert torch.equal(found.mean, plain.mean)


def test_numbers_that_mean_nothing_are_refused():
    denoiser, _ = model()
    for interval in ((-0.1, 1.0), (2.0, 1.0), (1.0, 1.0)):
        with pytest.raises(Refused, match=r"noise level sigma/alpha, with 0 <= low < high"):
            ClassifierFree(denoiser, weight=2.0, interval=interval)
    for wrong in ({"rescale": 1.5}, {"parallel": -0.1}, {"largest": 0.0}):
        with pytest.raises(Refused, match="rescale and parallel in"):
            ClassifierFree(denoiser, weight=2.0, **wrong)

    class Logits(nn.Module):
        def forward(self, x: Tensor, c_time: Tensor, label: Any = None, drop: Any = None) -> Tensor:
            return torch.zeros(*x.shape, 3)

    tokens = Predictor(Logits(), Categorical(LogLinear(), uniform(3)), "probabilities")
    for extra, name in (({"rescale": 0.5}, "rescale"), ({"parallel": 0.5}, "parallel")):
        with pytest.raises(Refused, match=f"classifier_free with .*{name} = 0.5 is for values"):
            ClassifierFree(tokens, weight=2.0, **extra)
    assert "weight 2" in ClassifierFree(denoiser, weight=2.0).no_density()
    assert math.isinf(ClassifierFree(denoiser).largest)
