"""Score matching in its forms: one minimum, the true score, in closed form for normals and linear scores."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.networks import UNet
from undiffuse.objectives import Denoising, ExactScoreMatching, NCSNObjective, SlicedScoreMatching
from undiffuse.schedules import VE, VP, Geometric, SubVP
from undiffuse.time_distributions.log_uniform import LogUniform
from undiffuse.time_distributions.uniform import Uniform

COV = torch.tensor([[1.0, 0.5], [0.5, 2.0]], dtype=torch.float64)
PRECISION = torch.linalg.inv(COV)
CORNERS = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
DATA = CORNERS @ torch.linalg.cholesky(COV).T  # four points whose second moments are exactly COV


def linear(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: -x @ matrix


class Scored(Denoiser):
    """The denoiser whose score at every time is -matrix x."""

    def __init__(self, process: Gaussian, matrix: Tensor) -> None:
        self.process, self.matrix = process, matrix

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        alpha, sigma = self.process.schedule.at(t, x_t)
        return Normal((x_t - sigma**2 * x_t @ self.matrix) / alpha)


def test_exact_score_matching_of_a_linear_score_is_the_closed_form():
    """X20: J(A) = -tr A + 1/2 tr(A cov A): -0.857143 at the optimum, the precision, and -0.5 at the unit matrix."""
    objective = ExactScoreMatching()
    for matrix, wanted in ((PRECISION, -0.857143), (torch.eye(2).double(), -0.5)):
        assert float(objective.value(linear(matrix), DATA).detach().mean()) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("reduced", [True, False])
@pytest.mark.parametrize("projection", ["rademacher", "gaussian", "sphere"])
def test_the_expectation_of_sliced_score_matching_is_exact_score_matching(projection: Any, reduced: bool):
    many = DATA.repeat(50_000, 1)
    objective = SlicedScoreMatching(projection, reduced)
    values = objective.value(linear(PRECISION), many, Random(0)).detach()
    error = float(values.std()) / len(many) ** 0.5
    assert float(values.mean()) == pytest.approx(-0.857143, abs=4 * error)
    assert error < 0.01


def test_a_unit_sphere_is_a_sphere_with_the_dimension_in_its_scale():
    many = DATA.repeat(50_000, 1)
    values = SlicedScoreMatching("unit_sphere", reduced=False).value(linear(PRECISION), many, Random(0)).detach()
    assert float(values.mean()) == pytest.approx(-0.428571, abs=0.005)  # X20


@pytest.mark.parametrize(("projection", "variance"), [("rademacher", 0.326531), ("gaussian", 3.591837)])
def test_the_variance_of_the_divergence_by_a_random_direction(projection: Any, variance: float):
    """X20: of v' A v with A the precision; at x = 0 it is all that is left of J. Rademacher is exact for diagonals."""
    zero = torch.zeros(200_000, 2, dtype=torch.float64)
    objective = SlicedScoreMatching(projection)
    values = objective.value(linear(PRECISION), zero, Random(1)).detach()
    assert float(values.mean()) == pytest.approx(-float(PRECISION.trace()), abs=0.02)
    assert float(values.var()) == pytest.approx(variance, rel=0.03)
    diagonal = objective.value(linear(torch.diag(torch.tensor([0.3, 2.0]).double())), zero, Random(1)).detach()
    assert float(diagonal.var()) == pytest.approx(0.0 if projection == "rademacher" else 2 * (0.09 + 4), abs=0.2)


@pytest.mark.parametrize("objective", [ExactScoreMatching(), SlicedScoreMatching(), SlicedScoreMatching(reduced=False)])
def test_the_gradient_vanishes_at_the_true_score_and_only_there(objective: Any):
    """In the family score = -A x of data N(0, cov): dJ/dA = -1 + (A cov + cov A)/2, zero at A = cov^-1."""
    many = DATA.repeat(20_000, 1)
    for matrix in (PRECISION, torch.eye(2).double()):
        weights = matrix.clone().requires_grad_()
        given = () if isinstance(objective, ExactScoreMatching) else (Random(0),)
        objective.value(linear(weights), many, *given).mean().backward()
        wanted = -torch.eye(2).double() + (matrix @ COV + COV @ matrix) / 2
        slope = weights.grad
        assert slope is not None
        torch.testing.assert_close((slope + slope.T) / 2, wanted, rtol=0, atol=0.03)


def losses(denoiser: Denoiser, t: float, count: int = 40_000) -> dict[str, float]:
    """Each objective at one time, over the same data of covariance COV."""
    x_0 = (GaussianOracle(Gaussian(VP()), 0.0, COV)).draw(count, Random(0))
    times = torch.full((count,), t, dtype=torch.float64)
    made = {
        "exact": ExactScoreMatching(),
        "sliced": SlicedScoreMatching(),
        "ladder": NCSNObjective(),
        "plain": Denoising(),
    }
    return {name: float(o.at(times, denoiser, Batch(x_0), Random(1)).detach().mean()) for name, o in made.items()}


@pytest.mark.parametrize("schedule", [VP(), VE(sigma_max=5.0), Geometric()], ids=lambda s: type(s).__name__)
def test_all_of_them_are_least_at_the_score_of_the_smoothed_data(schedule: Schedule):
    """And agree on how much worse another score is: sigma^2/(2 d) E|score - true|^2; the plain one on twice that."""
    process, t = Gaussian(schedule), 0.4
    alpha, sigma = (float(c) for c in schedule.at(t, torch.empty(())))
    smooth = alpha**2 * COV + sigma**2 * torch.eye(2).double()
    true, wrong = torch.linalg.inv(smooth), torch.linalg.inv(smooth) + 0.2 * torch.eye(2).double() / smooth.diagonal()
    best, worse = losses(Scored(process, true), t), losses(Scored(process, wrong), t)
    excess = sigma**2 / 4 * float(((wrong - true) @ smooth @ (wrong - true).T).trace())
    for name in ("exact", "sliced", "ladder"):
        assert worse[name] - best[name] == pytest.approx(excess, rel=0.15, abs=3e-4), name
    assert worse["plain"] - best["plain"] == pytest.approx(2 * excess, rel=0.15, abs=6e-4)
    gamma = sigma**2 * float(true.trace()) / 2  # sigma^2 E|score|^2 / d
    assert best["ladder"] == pytest.approx((1 - gamma) / 2, rel=0.02, abs=2e-3)  # the same Gamma as Analytic-DPM's
    assert best["exact"] == pytest.approx(-gamma / 2, rel=0.02, abs=2e-3)


def test_the_ladder_is_half_of_the_noise_weighting_on_its_levels():
    process = Gaussian(Geometric())
    oracle, x_0 = GaussianOracle(process, 0.1, 0.5), Random(3).normal((50, 4), dtype=torch.float64)
    torch.testing.assert_close(
        NCSNObjective().loss(oracle, Batch(x_0), Random(0)),
        Denoising("noise").loss(oracle, Batch(x_0), Random(0)) / 2,
        rtol=1e-9,
        atol=0,
    )
    t = torch.full((50,), 0.5, dtype=torch.float64)
    sigma = float(process.schedule.sigma(t[:1]))
    plain, steep = (NCSNObjective(power).at(t, oracle, Batch(x_0), Random(0)) for power in (2.0, 3.0))
    torch.testing.assert_close(steep, sigma * plain, rtol=1e-9, atol=0)


@pytest.mark.parametrize("schedule", [VP(), SubVP(), VE()], ids=lambda s: type(s).__name__)
def test_likelihood_weighting_is_the_papers_diffusion_on_the_score(schedule: Schedule):
    """g^2 |score - true|^2, with g^2 of arXiv:2011.13456's three equations written out."""
    process, t = Gaussian(schedule), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    beta, area, growth = 0.1 + 19.9 * t, 0.1 * t + 19.9 * t**2 / 2, math.log(5000.0)
    squares = {
        VP(): beta,
        SubVP(): beta * (1 - (-2 * area).exp()),
        VE(): 2 * growth * (0.01 * (growth * t).exp()) ** 2,
    }
    x_0, oracle = Random(0).normal((3, 4), dtype=torch.float64), GaussianOracle(process, 0.3, 0.6)
    x_t = process.marginal(x_0, t).sample(Random(5))
    error = process.score(x_t, oracle(x_t, t), t) - process.score(x_t, process.point(x_0), t)
    got = Denoising("likelihood").at(t, oracle, Batch(x_0), Random(5))
    torch.testing.assert_close(got, squares[schedule] * error.square().mean(1), rtol=1e-8, atol=0)


@pytest.mark.parametrize("schedule", [VP(), SubVP(), VE()], ids=lambda s: type(s).__name__)
def test_times_drawn_by_importance_turn_the_plain_loss_into_the_likelihoods(schedule: Schedule):
    """mean over log_uniform of the noise weighting, times the range of log-SNR = mean over t of the likelihood's."""
    process, count = Gaussian(schedule), 40_000
    oracle = GaussianOracle(process, 0.0, 0.25)
    x_0 = oracle.draw(count, Random(2))
    ends = schedule.log_snr(torch.tensor([0.1, 1.0], dtype=torch.float64))
    by_importance = Denoising("noise", LogUniform(t_min=0.1, limit=100.0)).loss(oracle, Batch(x_0), Random(0))
    plain = Denoising("likelihood", Uniform(t_min=0.1)).loss(oracle, Batch(x_0), Random(1))
    span = float(ends[0] - ends[1])
    error = math.hypot(float(plain.std()), span * float(by_importance.std())) / count**0.5
    assert span * float(by_importance.mean()) == pytest.approx(0.9 * float(plain.mean()), abs=4 * error)
    assert span * float(by_importance.std()) < 0.95 * float(plain.std())


def test_the_objectives_train_a_score_and_depend_on_the_sample_only():
    process = Gaussian(Geometric())
    x_0 = GaussianOracle(process, 0.0, COV).draw(64, Random(0))
    for objective in (ExactScoreMatching(), SlicedScoreMatching(slices=3), NCSNObjective()):
        weights = torch.eye(2, dtype=torch.float64, requires_grad=True)
        with torch.no_grad():
            held_out = objective.loss(Scored(process, weights), Batch(x_0), Random(4))
        assert not held_out.requires_grad
        loss = objective.loss(Scored(process, weights), Batch(x_0), Random(4))
        torch.testing.assert_close(loss, held_out)
        loss.mean().backward()
        assert weights.grad is not None
        assert float(weights.grad.abs().sum()) > 0
        order = torch.tensor([5, 60])
        part = objective.loss(Scored(process, weights), Batch(x_0[order]), Random(4, order))
        torch.testing.assert_close(part, loss[order])


def test_a_network_with_attention_can_be_trained_by_its_second_derivatives():
    network = UNet(channels=1, width=16, multipliers=(1,), blocks=1, attention=(0,))
    with torch.no_grad():
        for weight in network.parameters():  # the last layers start from zero
            weight.add_(0.1 * Random(weight.numel()).normal(tuple(weight.shape) or (1,)).reshape(weight.shape))
    denoiser = Predictor(network, Gaussian(VP()), "noise")
    x_0 = Random(0).normal((3, 1, 4, 4))
    for objective in (SlicedScoreMatching(), ExactScoreMatching()):
        network.zero_grad()
        objective.loss(denoiser, Batch(x_0), Random(1)).mean().backward()
        slopes = [weight.grad for weight in network.parameters() if weight.grad is not None]
        assert len(slopes) > 10
        assert all(bool(slope.isfinite().all()) for slope in slopes)


BIG = torch.zeros(1, 5, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ExactScoreMatching().value(torch.neg, BIG),
            "a backward pass for each of the data's 25 elements, and its",
        ),
        (lambda: ExactScoreMatching(limit=0), "exact_score_matching needs a limit of at least 1, not 0"),
        (lambda: SlicedScoreMatching("cube"), r"sliced_score_matching's projection has no 'cube'"),  # type: ignore[arg-type]
        (
            lambda: SlicedScoreMatching("unit_sphere"),
            r"with reduced = true needs E\[v v'\] = 1: take sphere, of radius",
        ),
        (lambda: SlicedScoreMatching(slices=0), "sliced_score_matching needs at least 1 slice, not 0"),
        (
            lambda: NCSNObjective().loss(GaussianOracle(Gaussian(VE())), Batch(torch.zeros(2, 2)), Random(0)),
            "ncsn trains on a schedule of levels, like geometric; ve is continuous: use denoising",
        ),
    ],
)
def test_meaningless_requests_are_refused(make: Callable[[], Any], message: str):
    with pytest.raises(Refused, match=message):
        make()
