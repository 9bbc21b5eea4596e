"""Laws of the denoising objective: one weighting is one loss under every parameterization."""

import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.process.categorical import Categorical, mask
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.process import Process
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.objectives import Denoising
from undiffuse.objectives.denoising import Weighting
from undiffuse.parameterizations.data import Data
from undiffuse.schedules import VP, EDMSchedule, FlowSchedule, LinearBeta, LogLinear
from undiffuse.time_distributions.log_normal import LogNormal
from undiffuse.time_distributions.stratified import Stratified
from undiffuse.time_distributions.uniform import Uniform

WEIGHTINGS = [weighting for weighting in get_args(Weighting) if weighting != "unmasking"]  # which is of tokens
X_0 = Random(0).normal((6, 2, 3), dtype=torch.float64)
T = torch.tensor([0.1, 0.2, 0.4, 0.6, 0.8, 1.0], dtype=torch.float64)


class Means(nn.Module):
    """The network output that means the guess `x_0 + error`, whatever the parameterization."""

    def __init__(self, process: Gaussian, parameterization: Parameterization, x_0: Tensor, error: float) -> None:
        super().__init__()
        self.process, self.parameterization, self.guess = process, parameterization, x_0 + error

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        alpha, sigma = self.process.schedule.at(T, x)
        x_t = x / self.parameterization.coefficients(alpha, sigma)[2]
        return self.parameterization.target(self.guess, x_t, alpha, sigma)


class Told(Denoiser):
    def __init__(self, process: Process, guess: Distribution) -> None:
        self.process, self.guess = process, guess

    def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Distribution:
        return self.guess


@pytest.mark.each("weighting", WEIGHTINGS)
@pytest.mark.each(
    "schedule", [VP(), EDMSchedule(sigma_max=5), FlowSchedule(), LinearBeta()], ids=lambda s: type(s).__name__
)
def test_the_loss_does_not_depend_on_the_parameterization(
    weighting: Weighting, parameterization: Parameterization, schedule: Schedule
):
    if schedule == FlowSchedule():
        schedule = LogLinear()  # flow matching's path, but some signal is left at t = 1, which noise prediction needs
    process, objective = Gaussian(schedule), Denoising(weighting)
    losses = [
        objective.at(T, Predictor(Means(process, s, X_0, 0.3), process, s), Batch(X_0), Random(1))
        for s in (parameterization, Data())
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-9, atol=1e-12)
    perfect = objective.at(
        T, Predictor(Means(process, parameterization, X_0, 0.0), process, parameterization), Batch(X_0), Random(1)
    )
    torch.testing.assert_close(perfect, torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-12)


SNR = (-2 * torch.tensor([0.1, 0.5, 1.0, 2.0, 5.0, 20.0]).double().log()).exp()
LAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "noise": lambda snr: snr,
    "snr": lambda snr: snr,
    "data": lambda snr: torch.ones_like(snr),
    "min_snr": lambda snr: torch.minimum(snr, torch.tensor(5.0)),
    "edm": lambda snr: (1 + 0.25 * snr) / 0.25,  # (sigma^2 + data_std^2) / (sigma data_std)^2 with sigma^2 = 1/SNR
    "truncated_snr": lambda snr: torch.maximum(snr, torch.tensor(1.0)),
    "snr_plus_one": lambda snr: snr + 1,
    "likelihood": lambda snr: 40 * snr**1.5,  # -d/dt of 1 / (20 t)^2
}


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_each_weighting_is_its_papers_function_of_the_snr(weighting: Weighting):
    schedule = EDMSchedule(sigma_max=20)
    t = schedule.time(SNR.log())
    guess = Told(Gaussian(schedule), Normal(X_0 + 0.5))
    loss = Denoising(weighting).at(t, guess, Batch(X_0), Random(0))
    torch.testing.assert_close(loss, 0.25 * LAWS[weighting](SNR), rtol=1e-9, atol=0)


def test_the_rate_of_unmasking_is_of_tokens():
    guess = Told(Gaussian(EDMSchedule()), Normal(X_0))
    with pytest.raises(Refused, match="weighting 'unmasking' is of tokens"):
        Denoising("unmasking").at(T, guess, Batch(X_0), Random(0))


def test_the_weightings_are_the_plain_losses_of_their_parameterizations():
    """noise: |noise - its guess|^2 (arXiv:2006.11239, eq. 14); snr_plus_one: |v - its guess|^2 (arXiv:2202.00512, eq.
    14).
    """
    process = Gaussian(VP())
    alpha, sigma = process.schedule.at(T, X_0)
    noise = process.marginal(torch.zeros_like(X_0), T).sample(Random(1)) / sigma
    x_t = alpha * X_0 + sigma * noise
    guess = X_0 + 0.3 * X_0.sin()
    noise_guess = (x_t - alpha * guess) / sigma
    losses = {
        "noise": noise - noise_guess,
        "snr_plus_one": (alpha * noise - sigma * X_0) - (alpha * noise_guess - sigma * guess),
        "data": X_0 - guess,
    }
    for weighting, error in losses.items():
        got = Denoising(weighting).at(T, Told(process, Normal(guess)), Batch(X_0), Random(1))  # type: ignore[arg-type]
        torch.testing.assert_close(got, (error**2).mean((1, 2)), rtol=1e-9, atol=0)


def test_the_denoiser_is_shown_data_noised_at_its_time_and_its_conditions():
    process = Gaussian(VP())
    seen: dict[str, Any] = {}

    class Spy(Denoiser):
        def __init__(self) -> None:
            self.process = process

        def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Distribution:
            seen.update(x_t=x_t, t=t, **cond)
            return Normal(torch.zeros_like(x_t))

    x_0 = torch.full((4000, 1), 2.0, dtype=torch.float64)
    Denoising(times=Stratified()).at(torch.full((4000,), 0.5), Spy(), Batch(x_0, {"label": 7}), Random(0))
    alpha, sigma = (float(c) for c in process.schedule.at(0.5, x_0))
    assert seen["label"] == 7
    assert float(seen["x_t"].mean()) == pytest.approx(2 * alpha, abs=4 * sigma / 4000**0.5)
    assert float(seen["x_t"].std()) == pytest.approx(sigma, rel=0.05)


def test_times_come_from_their_draw_and_each_sample_from_its_index():
    process = Gaussian(VP())
    oracle = GaussianOracle(process, 0.0, 1.0)
    objective = Denoising("snr_plus_one", times=LogNormal())
    x_0 = Random(9).normal((8, 3), dtype=torch.float64)
    whole = objective.loss(oracle, Batch(x_0), Random(4))
    order = torch.tensor([5, 1])
    assert torch.equal(objective.loss(oracle, Batch(x_0[order]), Random(4, order)), whole[order])
    assert not torch.equal(objective.loss(oracle, Batch(x_0), Random(5)), whole)
    levels = process.schedule.log_snr(objective.times(process.schedule, Random(4).fold(0), 8))
    assert torch.equal(
        objective.at(process.schedule.time(levels), oracle, Batch(x_0), Random(4).fold(1)).round(decimals=9),
        whole.round(decimals=9),
    )


@pytest.mark.parametrize(
    ("std", "floor"),
    [(0.5, 0.173053), (1.0, 0.275513)],
)
def test_the_exact_denoiser_has_the_least_loss_that_there_is(std: float, floor: float):
    """X06: L_simple of the optimal noise guess on N(0, std^2), linear-1000, averaged over the steps."""
    schedule = LinearBeta()
    alpha, sigma = (c(torch.arange(1, 1001, dtype=torch.float64) / 1000) for c in (schedule.alpha, schedule.sigma))
    exact = float((alpha**2 * std**2 / (alpha**2 * std**2 + sigma**2)).mean())  # E |noise - E[noise given x_t]|^2
    assert exact == pytest.approx(floor, abs=1e-6)
    process = Gaussian(schedule)
    x_0 = Random(3).normal((40000, 1), dtype=torch.float64) * std
    losses = Denoising("noise", times=Stratified()).loss(GaussianOracle(process, 0.0, std**2), Batch(x_0), Random(0))
    assert float(losses.mean()) == pytest.approx(floor, abs=4.5 * float(losses.std()) / 200)


def test_the_floor_of_a_mixture():
    """X06: .3 N(-.6, .15^2) + .7 N(.5, .15^2), linear-1000: the mean over the steps is .144074."""
    process = Gaussian(LinearBeta())
    oracle = MixtureOracle(process, [0.3, 0.7], torch.tensor([[-0.6], [0.5]]), torch.tensor([0.15**2, 0.15**2]))
    x_0 = oracle.draw(40000, Random(3))
    losses = Denoising("noise", times=Stratified()).loss(oracle, Batch(x_0), Random(0))
    assert float(losses.mean()) == pytest.approx(0.144074, abs=4.5 * float(losses.std()) / 200)
    worse = Denoising("noise", times=Stratified()).loss(GaussianOracle(process, 0.17, 0.2766), Batch(x_0), Random(0))
    assert float(worse.mean()) > float(losses.mean()) + 0.005


def test_tokens_are_judged_by_cross_entropy():
    process = Categorical(LogLinear(), mask(3))
    x_0 = torch.tensor([[0, 1], [1, 1]])
    guess = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log().expand(2, 2, 3)
    loss = Denoising("data").at(torch.tensor([0.3, 0.9]), Told(process, Tokens(guess)), Batch(x_0), Random(0))
    wanted = [-(math.log(0.6) + math.log(0.3)) / 2, -math.log(0.3)]
    torch.testing.assert_close(loss, torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Denoising("minsnr"),
            r"the denoising objective's weighting has no 'minsnr' \(did you mean 'min_snr'\?\); it has: data, edm",
        ),  # type: ignore[arg-type]
        (lambda: Denoising(gamma=0.0), "denoising needs gamma > 0 and data_std > 0, not 0 and 0.5"),
        (lambda: Denoising(data_std=-1.0), "denoising needs gamma > 0 and data_std > 0, not 5 and -1"),
    ],
)
def test_meaningless_objectives_are_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()


def test_the_default_draws_uniform_times():
    assert Denoising().times == Uniform()
