"""Laws of denoisers that speak of their variance: the mean, guidance and every sampler are as without it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.denoiser import Predictor
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.heads.learned_variance import LearnedVariance
from undiffuse.core.objective import Batch
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.core.sampler import Sampler
from undiffuse.guidance import ClassifierFree, OptimalVariance
from undiffuse.objectives import SecondMoment
from undiffuse.parameterizations import Noise, Velocity
from undiffuse.samplers import Ancestral
from undiffuse.samplers.jump import Jump
from undiffuse.schedules import VP

PROCESS = Gaussian(VP())
X, LABEL = Random(0).normal((3, 2), dtype=torch.float64), torch.tensor([1, 2, 3])


class Half(nn.Module):
    """0.6 x and its label; with a second half, 0.1 x and twice its label."""

    def __init__(self, second: bool) -> None:
        super().__init__()
        self.second = second

    def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Tensor | None = None) -> Tensor:
        told = torch.zeros(len(x)) if label is None else label.float()
        told = told if drop is None else torch.where(drop, 0.0, told)
        mean = 0.6 * x + told[:, None].to(x)
        return torch.cat([mean, 0.1 * x + 2 * told[:, None].to(x)], dim=1) if self.second else mean


def model(variance: str) -> Predictor:
    head = Velocity() if variance == "none" else LearnedVariance(Velocity(), variance)
    return Predictor(Half(variance != "none"), PROCESS, head)


def test_every_sampler_draws_the_same_with_a_learned_range_and_without(sampler: Sampler):
    if getattr(sampler, "variance", "") == "exact" or sampler == Jump(1.0):
        return  # ask for another variance
    drawn = [sample(model(v), (3, 2), sampler=sampler, steps=6, seed=4) for v in ("none", "learned_range")]
    assert torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_guidance_moves_the_mean_and_keeps_the_fraction_of_the_condition(weight: float):
    plain, learned = (ClassifierFree(model(v), weight=weight)(X, 0.5, label=LABEL) for v in ("none", "learned_range"))
    assert isinstance(plain, Normal)
    assert isinstance(learned, Normal)
    assert torch.equal(plain.mean, learned.mean)
    assert learned.fraction is not None
    torch.testing.assert_close(learned.fraction, (0.1 * X + 2 * LABEL[:, None] + 1) / 2)
    sample(
        ClassifierFree(model("learned_range"), weight=weight),
        (3, 2),
        sampler=Ancestral("learned"),
        steps=2,
        label=LABEL,
    )


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_guidance_moves_the_mean_and_keeps_the_second_moment_of_the_condition(weight: float):
    plain: Any = ClassifierFree(model("none"), weight=weight)(X, 0.5, label=LABEL)
    learned: Any = ClassifierFree(model("second_moment"), weight=weight)(X, 0.5, label=LABEL)
    assert torch.equal(plain.mean, learned.mean)
    assert torch.equal(learned.var, torch.as_tensor(model("second_moment")(X, 0.5, label=LABEL).var))


def test_rows_and_clipping_keep_the_fraction():
    guess = model("learned_range")(4 * X, 0.5)
    assert guess.fraction is not None
    part = guess.rows(slice(1, 3)).fraction
    assert part is not None
    assert torch.equal(part, guess.fraction[1:])
    clipped = OptimalVariance(model("learned_range"), (0.5,), (0.1,), (-1.0, 1.0), clip_mean=True)(4 * X, 0.5)
    assert float(clipped.mean.abs().max()) <= 1
    assert clipped.fraction is not None
    assert torch.equal(clipped.fraction, guess.fraction)
    assert guess.mean_only().fraction is None


def test_a_second_moment_begins_as_that_of_unit_normal_data_and_is_never_negative():
    class Still(nn.Module):
        def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
            return torch.cat([x, torch.full_like(x, self.v)], dim=1)

        v = 0.0

    network = Still()
    guess: Any = Predictor(network, PROCESS, LearnedVariance(Noise(), "second_moment"))(X, 0.3)
    alpha, sigma = (float(c) for c in PROCESS.schedule.at(0.3, torch.empty(())))
    torch.testing.assert_close(guess.var, torch.full_like(X, sigma**2 / (alpha**2 + sigma**2)))
    network.v = -50.0
    low: Any = Predictor(network, PROCESS, LearnedVariance(Noise(), "second_moment"))(X, 0.3)
    assert float(low.var.min()) > 0


def test_a_second_moments_gradient_vanishes_at_the_true_variance():
    """A mixture of two points: Var(x_0 given x_t) differs from x_t to x_t, and is where the loss is least."""
    x_0 = 1.0 - 2 * (Random(1).integers(2, (40_000, 1)).double())
    alpha, sigma = (float(c) for c in PROCESS.schedule.at(0.4, torch.empty(())))

    class Bent(nn.Module):
        """The oracle of +-1, with its variance times exp(a + b mean^2)."""

        def __init__(self) -> None:
            super().__init__()
            self.bend = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        process = PROCESS

        def forward(self, x_t: Tensor, t: Tensor, **cond: Any) -> Normal:
            mean = (alpha * x_t / sigma**2).tanh()
            return Normal(mean, (1 - mean**2) * (self.bend[0] + self.bend[1] * mean**2).exp())

        __call__ = nn.Module.__call__

    bent: Any = Bent()
    t = torch.full((len(x_0),), 0.4, dtype=torch.float64)
    losses = SecondMoment(mean=0.0).at(t, bent, Batch(x_0), Random(2))
    (slope,) = torch.autograd.grad(losses.mean(), bent.bend)
    bent.bend.data += torch.tensor([0.3, 0.0]).double()
    (away,) = torch.autograd.grad(SecondMoment(mean=0.0).at(t, bent, Batch(x_0), Random(2)).mean(), bent.bend)
    assert float(slope.abs().max()) < 0.05 * float(away.abs().max())


def test_a_second_moment_trains_the_guess_by_denoising_alone():
    network = nn.Linear(1, 2, dtype=torch.float64)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
            return self.inner(x)

    told = Predictor(Scaled(), PROCESS, LearnedVariance(Velocity(), "second_moment"))
    x_0, t = Random(1).normal((50, 1), dtype=torch.float64), torch.linspace(0.1, 1, 50, dtype=torch.float64)
    (slope,) = torch.autograd.grad(SecondMoment(mean=0.0).at(t, told, Batch(x_0), Random(2)).mean(), network.weight)
    assert float(slope[0].abs().max()) == 0
    assert float(slope[1].abs().max()) > 0
    (both,) = torch.autograd.grad(SecondMoment().at(t, told, Batch(x_0), Random(2)).mean(), network.weight)
    assert float(both[0].abs().max()) > 0
    assert torch.equal(both[1], slope[1])
