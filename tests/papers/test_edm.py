"""EDMSchedule (arXiv:2206.00364): its grid, its coefficients, its two samplers on a Gaussian."""

import pytest
import torch

from undiffuse import parameterizations
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import trajectory
from undiffuse.core.sampler import Sampler
from undiffuse.grids.karras import Karras
from undiffuse.samplers import Euler, Heun
from undiffuse.schedules import EDMSchedule, FlowSchedule

GRID = (
    80, 57.585985, 40.785574, 28.374585, 19.352453, 12.910082, 8.400935, 5.315195, 3.256822,
    1.92334, 1.088171, 0.585348, 0.296442, 0.139516, 0.059947, 0.022935, 0.007528, 0.002,
)  # fmt: skip


def test_the_grid_of_eighteen():
    """X11, eq. 5: sigma_max 80, sigma_min 0.002, rho 7, then 0."""
    sigmas = EDMSchedule().sigma(Karras()(EDMSchedule(), 18))
    torch.testing.assert_close(sigmas[:-1], torch.tensor(GRID, dtype=torch.float64), rtol=0, atol=1e-6)
    assert float(sigmas[0]) == pytest.approx(80, abs=1e-9)
    assert float(sigmas[-1]) == 0


@pytest.mark.parametrize(
    ("sigma", "skip", "out", "into", "weight"),
    [(0.5, 0.5, 0.353553, 1.414214, 8), (1.0, 0.2, 0.447214, 0.894427, 5), (0.1, 0.961538, 0.0980581, 1.96116, 104)],
)
def test_the_coefficients(sigma: float, skip: float, out: float, into: float, weight: float):
    """X11, table 1, data_std 0.5; the loss weight is 1 / c_out^2."""
    got = parameterizations.EDMParameterization().coefficients(
        torch.ones((), dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64)
    )
    for value, wanted in zip(got, (skip, out, into), strict=True):
        assert float(value) == pytest.approx(wanted, rel=2e-6)
    assert 1 / float(got[1]) ** 2 == pytest.approx(weight, rel=1e-6)


@pytest.mark.parametrize(
    ("steps", "euler", "heun"),
    [
        (5, 0.23362893, 1.25788631),
        (10, 0.36521307, 0.60979800),
        (18, 0.42303144, 0.52762464),
        (40, 0.46485077, 0.50487686),
        (80, 0.48232042, 0.50114531),
        (256, 0.49444516, 0.50009542),
    ],
)
def test_the_final_std_of_a_gaussian(steps: int, euler: float, heun: float):
    """X11: data N(0, .25) started from N(0, 80^2); the exact end is .49999023."""
    oracle = GaussianOracle(Gaussian(EDMSchedule()), 0.0, 0.25)
    for sampler, std in ((Euler(), euler), (Heun(), heun)):
        *_, x = trajectory(
            oracle,
            sampler,
            torch.full((1, 1), 80.0, dtype=torch.float64),
            Karras()(EDMSchedule(), steps),
            random=Random(0),
        )
        assert float(x) == pytest.approx(std, abs=1e-8)


def mixture(schedule: EDMSchedule | FlowSchedule) -> Denoiser:
    return MixtureOracle(Gaussian(schedule), [0.3, 0.7], torch.tensor([[-0.6], [0.5]]), torch.tensor([0.04, 0.04]))


def test_a_heun_step_is_algorithm_one():
    oracle, sigma, sigma_next = mixture(EDMSchedule()), 3.0, 1.7
    x = Random(0).normal((5, 1), dtype=torch.float64) * 3
    t, s = (torch.tensor(v / 80, dtype=torch.float64) for v in (sigma, sigma_next))
    d = (x - oracle(x, t).mean) / sigma
    euler = x + (sigma_next - sigma) * d
    d_next = (euler - oracle(euler, s).mean) / sigma_next
    wanted = x + (sigma_next - sigma) * (d + d_next) / 2
    torch.testing.assert_close(Heun().step(oracle, x, t, s, random=Random(0))[0].mean, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(Euler().step(oracle, x, t, s, random=Random(0))[0].mean, euler, rtol=0, atol=1e-12)


def test_on_the_straight_path_heun_is_flow_matchings():
    """arXiv:2210.02747: dx/dt = u = noise - x_0, by the trapezoidal rule."""
    oracle, t, s = (
        mixture(FlowSchedule()),
        torch.tensor(0.7, dtype=torch.float64),
        torch.tensor(0.5, dtype=torch.float64),
    )
    x = Random(0).normal((5, 1), dtype=torch.float64)
    u = (x - oracle(x, t).mean) / t
    euler = x + (s - t) * u
    u_next = (euler - oracle(euler, s).mean) / s
    torch.testing.assert_close(
        Heun().step(oracle, x, t, s, random=Random(0))[0].mean, x + (s - t) * (u + u_next) / 2, rtol=0, atol=1e-12
    )
    torch.testing.assert_close(Euler().step(oracle, x, t, s, random=Random(0))[0].mean, euler, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [Euler, Heun])
def test_churn_is_algorithm_two(kind: type[Sampler]):
    """The noise level rises by gamma with noise of std S_noise sqrt(sigma_hat^2 - sigma^2),
    then the step starts there.
    """
    oracle, sigma, gamma, width = mixture(EDMSchedule()), 3.0, 0.2, 1.003
    x = torch.zeros(4000, 1, dtype=torch.float64)
    t, s = (torch.tensor(v / 80, dtype=torch.float64) for v in (sigma, 1.7))
    sigma_hat = sigma * (1 + gamma)
    z = Random(7).normal((4000, 1), dtype=torch.float64)
    raised = x + (sigma_hat**2 - sigma**2) ** 0.5 * width * z
    sampler = kind(churn=gamma, noise=width)  # type: ignore[call-arg]
    got = sampler.step(oracle, x, t, s, random=Random(7))[0].mean
    wanted = kind().step(oracle, raised, torch.tensor(sigma_hat / 80, dtype=torch.float64), s, random=Random(0))[0].mean
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-9)
    plain = kind().step(oracle, x, t, s, random=Random(7))[0].mean
    for bounds in ({"lowest": 3.1}, {"highest": 2.9}):  # sigma = 3 lies outside: S_tmin, S_tmax
        outside = kind(churn=gamma, noise=width, **bounds).step(oracle, x, t, s, random=Random(7))[0].mean  # type: ignore[call-arg]
        assert torch.equal(outside, plain)


def test_churn_stops_where_the_schedule_ends_and_says_so_once(caplog: pytest.LogCaptureFixture):
    oracle, one = mixture(EDMSchedule()), torch.tensor(1.0, dtype=torch.float64)
    x = 80 * Random(0).normal((5, 1), dtype=torch.float64)
    s = torch.tensor(0.5, dtype=torch.float64)
    churned, plain = (
        sampler.step(oracle, x, one, s, random=Random(0))[0].mean for sampler in (Euler(churn=0.4), Euler())
    )
    assert torch.equal(churned, plain)
    said = "churn 0.4 is capped at the schedule's noisiest level, sigma/alpha = 80: steps from above 57.14 get less"
    assert [said in record.getMessage() for record in caplog.records] == [True]
    less = Heun(churn=0.4).step(oracle, x, torch.tensor(0.9).double(), s, random=Random(0))[0].mean
    full = Heun(churn=0.9**-1 - 1).step(oracle, x, torch.tensor(0.9).double(), s, random=Random(0))[0].mean
    torch.testing.assert_close(less, full)
    within = Euler(churn=0.3, highest=80 / 1.3).step(oracle, x, one, s, random=Random(0))[0].mean
    assert torch.equal(within, plain)
    assert len(caplog.records) == 1
