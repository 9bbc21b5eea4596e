"""The exact density against closed forms: Gaussians under every schedule, mixtures, levels; there and back."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.likelihood import Decoder, decode, encode, ode, round_trip
from undiffuse.likelihood.path import draw_probes
from undiffuse.schedules import VE, VP, FlowSchedule, TableSchedule

X = torch.tensor([[-2.0], [0.0], [0.3], [1.0]], dtype=torch.float64)
MEAN = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
FACTOR = torch.tensor([[1.0, 0, 0], [0.6, 0.5, 0], [-0.3, 0.2, 0.4]], dtype=torch.float64)
COV = FACTOR @ FACTOR.T


def schedules() -> list[Any]:
    """Every schedule that can be built without numbers, and one table of each kind.

    One of as many lines as steps has few: the solver stops at every corner.
    """
    few: dict[str, dict[str, Any]] = {"mutual_information": {"steps": 30}}
    names = [name for name in registry.names("schedules") if name != "table"]
    made: list[Any] = [registry.build("schedules", {"name": name, **few.get(name, {})}) for name in names]
    tables = [TableSchedule(betas=[0.1] * 20), TableSchedule(betas=[0.1] * 20, zero_terminal_snr=True)]
    return [*(pytest.param(each, id=type(each).__name__) for each in made), *tables]


def end(schedule: Schedule, x: Tensor, mean: float, var: float, t_min: float) -> tuple[Tensor, Tensor]:
    """Where the ODE takes x of N(mean, var), and log p(x): it is affine in one dimension."""
    (a_0, s_0), (a_1, s_1) = schedule.at(t_min, x), schedule.at(1.0, x)
    std_0, std_1 = ((a**2 * var + s**2).sqrt() for a, s in ((a_0, s_0), (a_1, s_1)))
    latent = a_1 * mean + std_1 * (x - a_0 * mean) / std_0
    prior = schedule.prior_std(torch.tensor(1.0, dtype=torch.float64))
    return latent, (-0.5 * (latent / prior) ** 2 - (prior * math.sqrt(2 * math.pi)).log() + (std_1 / std_0).log())[:, 0]


@pytest.mark.parametrize("schedule", schedules())
def test_a_gaussian_has_its_density_and_its_latent_under_every_schedule(schedule: Schedule):
    oracle = GaussianOracle(Gaussian(schedule), 0.2, 0.25)
    t_min = 1 / schedule.steps if schedule.steps else 1e-5
    latent, log_prob = end(schedule, X, 0.2, 0.25, t_min)
    found = ode(oracle, X, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(found.log_prob, log_prob, rtol=0, atol=1e-6)
    if isinstance(schedule, (VP, VE, FlowSchedule, TableSchedule)):  # the density ends with the same latent
        torch.testing.assert_close(encode(oracle, X, rtol=1e-7, atol=1e-7), latent, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [(VP(), [-0.22580905, -0.40580268, -2.22573826]), (VE(), [-0.22594135, -0.40588736])],
    ids=["vp", "ve"],
)
def test_the_log_density_of_a_quarter_variance(schedule: Schedule, wanted: list[float]):
    """X12: what is missing to the data's own density is t_min, and that the prior ignores what is left of the data."""
    x = torch.tensor([[0.0], [0.3], [1.0]], dtype=torch.float64)[: len(wanted)]
    found = ode(GaussianOracle(Gaussian(schedule), 0.0, 0.25), x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.log_prob, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_full_covariance_has_its_density_exactly():
    oracle, x = GaussianOracle(Gaussian(FlowSchedule()), MEAN, COV), Random(0).normal((6, 3), dtype=torch.float64)
    a, s = 1 - 1e-5, 1e-5
    blurred = a**2 * COV + s**2 * torch.eye(3, dtype=torch.float64)
    wanted = torch.distributions.MultivariateNormal(a * MEAN, blurred).log_prob(x)
    found = ode(oracle, x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.log_prob, wanted, rtol=1e-8, atol=1e-8)
    assert float(found.probe_error.max()) == 0


def mixture() -> tuple[MixtureOracle, Any]:
    """In the plane, one component far narrower than the other; the process ends without a trace of the data."""
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
    covs = torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.01, 0.0], [0.0, 0.05]]], dtype=torch.float64)
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
    parts = torch.distributions.MultivariateNormal(means, covs)
    law = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(weights), parts)
    return MixtureOracle(Gaussian(FlowSchedule()), weights, means, covs), law


def test_a_mixture_has_its_density():
    oracle, law = mixture()
    x = oracle.draw(40, Random(0))
    found = ode(oracle, x, rtol=1e-8, atol=1e-8, t_min=1e-8)
    torch.testing.assert_close(found.log_prob, law.log_prob(x), rtol=0, atol=2e-6)
    assert found.elements == 2
    bits = -law.log_prob(x) / math.log(2) / 2
    assert found.mean[0] == pytest.approx(float(bits.mean()), abs=1e-5)
    assert found.mean[1] == pytest.approx(float(bits.std() / 40**0.5), rel=1e-4)


@pytest.mark.parametrize("trace", ["rademacher", "gaussian", "sphere"])
def test_an_estimated_trace_is_right_within_its_standard_error(trace: Any):
    oracle, x = GaussianOracle(Gaussian(FlowSchedule()), MEAN, COV), Random(1).normal((30, 3), dtype=torch.float64)
    exact = ode(oracle, x).log_prob
    found = ode(oracle, x, trace=trace, probes=32)
    assert float(found.probe_error.min()) > 1e-3
    assert float((((found.log_prob - exact) / found.probe_error) ** 2).mean()) == pytest.approx(1, abs=0.6)
    pooled = float((found.log_prob - exact).mean()) / float(found.probe_error.square().mean().sqrt()) * 30**0.5
    assert abs(pooled) < 3.5


def test_signs_are_exact_for_a_diagonal_jacobian():
    oracle = GaussianOracle(Gaussian(FlowSchedule()), 0.0, torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64))
    x = Random(2).normal((4, 3), dtype=torch.float64)
    found = ode(oracle, x, trace="rademacher", probes=3)
    assert float(found.probe_error.max()) < 1e-12
    torch.testing.assert_close(found.log_prob, ode(oracle, x).log_prob, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("kind", "variance"), [("rademacher", 0.326531), ("gaussian", 3.591837), ("sphere", 0.326531)])
def test_estimated_traces_have_their_mean_and_variance(kind: str, variance: float):
    """X20: v^T A v with A the inverse of [[1, .5], [.5, 2]]; on the circle ((a11 - a22)^2 + 4 a12^2) / 2."""
    a = torch.linalg.inv(torch.tensor([[1.0, 0.5], [0.5, 2.0]], dtype=torch.float64))
    v = draw_probes(kind, 1, torch.zeros(200_000, 2), Random(0))[:, 0]
    values = torch.einsum("bi,ij,bj->b", v, a, v)
    assert float(values.mean()) == pytest.approx(float(a.trace()), abs=0.02)
    assert float(values.var()) == pytest.approx(variance, rel=0.03)
    torch.testing.assert_close(v.T @ v / len(v), torch.eye(2, dtype=torch.float64), rtol=0, atol=0.02)


def test_a_datum_depends_neither_on_the_batch_nor_on_its_place():
    oracle, _ = mixture()
    x = oracle.draw(12, Random(3))
    together = ode(oracle, x, rtol=1e-7, atol=1e-7, trace="gaussian", probes=2).log_prob
    order = torch.tensor([7, 3, 11, 0])
    some = ode(oracle, x[order], indices=order, rtol=1e-7, atol=1e-7, trace="gaussian", probes=2, batch=3).log_prob
    torch.testing.assert_close(some, together[order], rtol=0, atol=1e-5)


def test_one_hard_datum_among_many_easy_ones_is_still_solved():
    """A norm over the batch would average its error away."""
    oracle, law = mixture()
    x = torch.cat([torch.full((500, 2), -1.0), torch.tensor([[1.0, 0.5]])]).double()
    found = ode(oracle, x, batch=501, rtol=1e-6, atol=1e-6)
    assert float(found.log_prob[-1]) == pytest.approx(float(law.log_prob(x[-1])), abs=1e-4)


def test_the_way_there_and_back_ends_where_it_began():
    oracle, _ = mixture()
    x = oracle.draw(20, Random(4))
    code = round_trip(oracle, x, rtol=1e-7, atol=1e-7, batch=7)
    assert float(code.error.max()) < 1e-6
    torch.testing.assert_close(decode(oracle, code.latent, rtol=1e-7, atol=1e-7), code.decoded, rtol=0, atol=1e-7)
    loose = round_trip(oracle, x, rtol=1e-3, atol=1e-3)
    assert float(loose.error.max()) > float(code.error.max())


def test_levels_have_a_bound_on_their_probability_whose_cost_is_reported():
    """E log p(x + u) = log p(x) - var(u) / (2 * 0.36) under u uniform, below log P(x): the integral over the bin."""
    decoder = Decoder(low=-2, high=2, levels=5)  # bins as wide as the data's deviation: dequantisation is dear
    x = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    oracle = GaussianOracle(Gaussian(FlowSchedule()), 0.0, 0.36)
    found = ode(oracle, x, decoder=decoder, draws=24, rtol=1e-3, atol=1e-3)
    normal = torch.distributions.Normal(0.0, torch.tensor(0.6, dtype=torch.float64))
    wanted = (normal.cdf(x + 0.5) - normal.cdf(x - 0.5)).log()[:, 0]
    expected = normal.log_prob(x)[:, 0] - 1 / 12 / 2 / 0.36
    assert float(((found.log_prob - expected) / found.draw_error).abs().max()) < 4
    assert bool((expected < wanted).all())
    assert bool((found.dequantisation >= 0).all())
    assert float(found.dequantisation.max()) > 0.05
    torch.testing.assert_close(found.log_prob + found.dequantisation, wanted, rtol=0, atol=0.3)
    assert found.convention == "probability of levels"
    assert bool((found.draw_error > 0).all())


def test_one_draw_says_nothing_about_its_error():
    x = torch.zeros(2, 1)
    levels = ode(GaussianOracle(Gaussian(FlowSchedule())), x, decoder=Decoder(low=-1, high=1, levels=3))
    assert bool(levels.draw_error.isnan().all())
    assert levels.dequantisation.tolist() == [0, 0]
    plain = ode(GaussianOracle(Gaussian(FlowSchedule())), x, trace="gaussian")
    assert bool(plain.probe_error.isnan().all())
    assert plain.convention == "density of values"


def test_progress_rises_to_the_number_of_data():
    heard: list[tuple[int, int]] = []
    ode(GaussianOracle(Gaussian(VP())), X, batch=2, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (4, 4)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
