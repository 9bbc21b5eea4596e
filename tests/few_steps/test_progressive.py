"""Progressive distillation: the exact target, its weights and times, phases that halve, and a student that gets there."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import undiffuse
from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.grids import Angle, Even
from undiffuse.objectives.progressive import Progressive, two_steps
from undiffuse.samplers import DDIM
from undiffuse.schedules import ContinuousCosine, EDMSchedule, FlowSchedule

DOUBLE: dict[str, Any] = {"dtype": torch.float64}
COSINE = Gaussian(ContinuousCosine())


class Curved(Denoiser):
    """A teacher whose guess is no posterior's mean: any will do."""

    def __init__(self, process: Gaussian) -> None:
        self.process = process

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        return Normal((3 * x_t).sin() + 0.3 * x_t**2, 0.1)


class Says(Denoiser):
    """A student that guesses what it is told to."""

    def __init__(self, process: Gaussian, guess: Tensor) -> None:
        self.process, self.guess = process, guess

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        return Normal(self.guess)


def step(denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return DDIM().step(denoiser, x_t, t, s, random=Random(0))[0].sample(Random(0))


def test_the_target_has_the_numbers_of_the_paper():
    """alpha = cos(pi t / 2), data N(0, .5^2), x_t = 1.3 at t = .75, N = 4."""
    teacher, x = GaussianOracle(COSINE, 0.0, 0.25), torch.tensor([[1.3]], **DOUBLE)
    t, middle, end = (torch.tensor(time, **DOUBLE) for time in (0.75, 0.625, 0.5))
    assert float(teacher(x, t).mean) == pytest.approx(0.13971804, abs=1e-8)
    assert float(step(teacher, step(teacher, x, t, middle), middle, end)) == pytest.approx(1.07093163, abs=1e-8)
    assert float(two_steps(teacher, x, t, middle, end)) == pytest.approx(0.18337088, abs=1e-8)
    edge = [torch.tensor(time, **DOUBLE) for time in (0.25, 0.125, 0.0)]  # the last step of N = 4 lands on data
    assert float(two_steps(teacher, x, *edge)) == pytest.approx(0.95785202, abs=1e-8)
