"""Laws of every parameterization: what the network should have said leads back to the data, at every noise level."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse import parameterizations
from undiffuse.core import registry
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.process.categorical import Categorical, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.parameterizations.consistency import Consistency
from undiffuse.parameterizations.data import Data
from undiffuse.parameterizations.noise import Noise
from undiffuse.parameterizations.score import Score
from undiffuse.parameterizations.velocity import Velocity
from undiffuse.schedules import VP, ContinuousCosine, EDMSchedule, FlowSchedule, LinearBeta


class Says(nn.Module):
    """A network that says what it was told to, and remembers what it was fed."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor, c_time: Tensor, **cond: Any) -> Tensor:
        self.x, self.c_time, self.cond = x, c_time, cond
        return self.output


def test_the_target_leads_back_to_the_data(parameterization: Parameterization, schedule: Schedule):
    t = torch.tensor([0.2, 0.3, 0.6, 0.95], dtype=torch.float64)
    process = Gaussian(schedule)
    x_0 = Random(0).normal((4, 3, 2), dtype=torch.float64)
    x_t = process.marginal(x_0, t).sample(Random(1))
    alpha, sigma = schedule.at(t, x_t)
    target = parameterization.target(x_0, x_t, alpha, sigma)
    guess = Predictor(Says(target), process, parameterization)(x_t, t)
    torch.testing.assert_close(guess.mean, x_0, rtol=1e-9, atol=1e-10)


def test_nothing_is_left_of_the_data(parameterization: Parameterization):
    """At alpha = 0 a parameterization leads back to the data too, or refuses by name."""
    process = Gaussian(ContinuousCosine())
    x_0, x_t = Random(0).normal((4, 3), dtype=torch.float64), Random(1).normal((4, 3), dtype=torch.float64)
    alpha, sigma = process.schedule.at(1.0, x_t)
    if isinstance(parameterization, (Noise, Score)):
        with pytest.raises(
            Refused, match=f"{type(parameterization).__name__.lower()} prediction is undefined where alpha = 0"
        ):
            Predictor(Says(x_t), process, parameterization)(x_t, 1.0)
        return
    guess = Predictor(Says(parameterization.target(x_0, x_t, alpha, sigma)), process, parameterization)(x_t, 1.0)
    torch.testing.assert_close(guess.mean, x_0, rtol=1e-12, atol=1e-12)


def test_each_row_means_what_its_paper_says():
    alpha, sigma = torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    x_0, noise = Random(0).normal((5, 2), dtype=torch.float64), Random(1).normal((5, 2), dtype=torch.float64)
    x_t = alpha * x_0 + sigma * noise
    meaning = {
        "noise": noise,
        "data": x_0,
        "velocity": alpha * noise - sigma * x_0,
        "score": sigma * (alpha * x_0 - x_t) / sigma**2,
        "flow": noise - x_0,
    }
    for name, wanted in meaning.items():
        torch.testing.assert_close(
            registry.get("parameterizations", name)().target(x_0, x_t, alpha, sigma), wanted, rtol=0, atol=1e-12
        )


def test_velocity_needs_no_unit_total():
    """METHODS of porting: v = alpha noise - sigma x_0 turns back by dividing by alpha^2 + sigma^2, on any schedule."""
    alpha, sigma = torch.tensor(0.9, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    x_0, noise = torch.tensor(0.3, dtype=torch.float64), torch.tensor(-1.1, dtype=torch.float64)
    target = Velocity().target(x_0, alpha * x_0 + sigma * noise, alpha, sigma)
    torch.testing.assert_close(target, alpha * noise - sigma * x_0, rtol=0, atol=1e-12)


def test_edm_and_consistency_see_only_the_ratio_of_noise_and_signal():
    """On any schedule the guess for x_t is EDM's guess for x_t / alpha at sigma / alpha."""
    network = nn.Linear(3, 3).double()
    x = Random(0).normal((4, 3), dtype=torch.float64)
    for parameterization in (parameterizations.EDMParameterization(), Consistency()):
        coefficients = [
            parameterization.coefficients(a, s)
            for a, s in ((torch.tensor(0.5), torch.tensor(0.4)), (torch.ones(()), torch.tensor(0.8)))
        ]
        (skip, out, into), (skip_1, out_1, into_1) = coefficients
        torch.testing.assert_close(
            skip * x + out * network(into * x),
            skip_1 * (x / 0.5) + out_1 * network(into_1 * x / 0.5),
            rtol=1e-6,
            atol=1e-6,
        )


def test_a_consistency_function_is_the_identity_at_its_lowest_noise():
    """arXiv:2303.01469, sec. 3: f(x, epsilon) = x."""
    parameterization = Consistency(sigma_min=0.002)
    for sigma in (0.002, 0.001):
        skip, out, _ = parameterization.coefficients(
            torch.ones((), dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64)
        )
        assert (float(skip), float(out)) == (1.0, 0.0)


def test_the_networks_time(schedule: Schedule):
    """DDPM's index, EDM's log(sigma)/4, the consistency models' 250 log(sigma)."""
    t = torch.tensor([0.25, 0.5], dtype=torch.float64)
    ratio = (schedule.sigma(t) / schedule.alpha(t)).log()
    torch.testing.assert_close(
        parameterizations.EDMParameterization().time(schedule, t), ratio / 4, rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(Consistency().time(schedule, t), 250 * ratio, rtol=1e-9, atol=1e-9)
    assert torch.equal(Noise().time(schedule, t), schedule.index(t))


def test_the_network_is_fed_its_own_dtype_a_float32_time_and_the_conditions(parameterization: Parameterization):
    class Half(Says):
        def __init__(self) -> None:
            super().__init__(torch.zeros(2, 3, dtype=torch.bfloat16))
            self.weight = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))

    network = Half()
    label = torch.tensor([1, 2])
    guess = Predictor(network, Gaussian(VP()), parameterization)(torch.ones(2, 3), 0.5, label=label)
    assert network.x.dtype == torch.bfloat16
    assert network.c_time.dtype == torch.float32
    assert network.c_time.shape == (2,)
    assert network.cond["label"] is label
    assert guess.mean.dtype == torch.float32


def test_what_the_network_is_fed_has_unit_variance_under_edm():
    """arXiv:2206.00364, eq. 114 and 117: with data of std data_std the input and the target have unit variance at
    every noise level.
    """
    t = torch.tensor([1e-4, 1e-3, 0.01, 0.1, 1.0], dtype=torch.float64)
    for schedule in (EDMSchedule(), VP(), FlowSchedule()):
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        skip, out, into = parameterizations.EDMParameterization(data_std=0.5).coefficients(alpha, sigma)
        torch.testing.assert_close(into**2 * (0.25 * alpha**2 + sigma**2), torch.ones_like(t), rtol=1e-9, atol=0)
        target = ((1 - skip * alpha) ** 2 * 0.25 + skip**2 * sigma**2) / out**2
        torch.testing.assert_close(target, torch.ones_like(t), rtol=1e-6, atol=0)


def test_names_are_known_in_any_case_and_near_ones_are_offered():
    assert registry.get("parameterizations", "noise")() == Noise()
    assert registry.get("parameterizations", "EDM")() == parameterizations.EDMParameterization()
    assert Predictor(nn.Identity(), Gaussian(VP()), "data").head == Data()
    with pytest.raises(
        Refused,
        match=r"parameterizations has no 'velocty' \(did you mean 'velocity'\?\); it has: consistency, data, edm",
    ):
        registry.get("parameterizations", "velocty")


def test_a_classifier_is_the_softmax_of_its_network():
    logits = Random(0).normal((2, 4, 3), dtype=torch.float32)
    network = Says(logits.bfloat16())
    guess = Predictor(network, Categorical(LinearBeta(), uniform(3)), "probabilities")(
        torch.zeros(2, 4, dtype=torch.long), torch.tensor([0.001, 1.0])
    )
    assert guess.log_probs.dtype == torch.float32
    torch.testing.assert_close(guess.mean, logits.bfloat16().float().softmax(-1))
    torch.testing.assert_close(network.c_time, torch.tensor([0.0, 999.0]))
    assert math.isclose(float(guess.mean.sum()), 8.0, rel_tol=1e-5)
