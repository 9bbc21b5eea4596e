"""Inverse problems: operators and their adjoints, and every method against exact posteriors."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.grids.log_snr import LogSNR
from undiffuse.guidance import DPS, MMPS, Inpaint, MultiDiffusion, Particles, PiGDM, RePaint
from undiffuse.guidance.measurement import Measurement
from undiffuse.guidance.posterior import conjugate_gradients
from undiffuse.operators.blur import Blur
from undiffuse.operators.grey import Grey
from undiffuse.operators.mask import Mask
from undiffuse.operators.pool import Pool
from undiffuse.operators.random_projection import RandomProjection
from undiffuse.samplers import DDIM, Ancestral, Heun
from undiffuse.schedules import VP, LinearBeta

PROCESS = Gaussian(VP())
IMAGES = Random(0).normal((2, 3, 8, 8), dtype=torch.float64)
CHESS = (torch.arange(8)[:, None] + torch.arange(8)[None]) % 2
OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "mask": Mask(CHESS[None].double()),
    "pool": Pool(4),
    "blur": Blur(1.5),
    "grey": Grey(),
    "projection": RandomProjection(20),
    "own": lambda x: x[:, :, :4].flatten(1) * 3,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_s_slope_is_itself_and_its_adjoint_agrees_with_it(name: str):
    operator = OPERATORS[name]
    forward, adjoint = Measurement(operator, operator(IMAGES)).linear(IMAGES)
    v = Random(1).normal(tuple(IMAGES.shape), dtype=torch.float64)
    u = Random(2).normal(tuple(operator(IMAGES).shape), dtype=torch.float64)
    torch.testing.assert_close(forward(v), operator(v))
    torch.testing.assert_close((forward(v) * u).sum(), (v * adjoint(u)).sum())


def test_operators_by_hand():
    flat = torch.full((1, 3, 8, 8), 0.7, dtype=torch.float64)
    for name in ("pool", "blur", "grey"):
        assert torch.allclose(OPERATORS[name](flat), torch.tensor(0.7, dtype=torch.float64)), name
    torch.testing.assert_close(Pool(8)(IMAGES)[..., 0, 0], IMAGES.mean((2, 3)))
    assert torch.equal(Mask(CHESS)(IMAGES)[:, :, 0, 0], torch.zeros(2, 3, dtype=torch.float64))
    _, adjoint = Measurement(RandomProjection(20), RandomProjection(20)(IMAGES)).linear(IMAGES)
    torch.testing.assert_close(RandomProjection(20)(adjoint(torch.eye(20).double()[:2])), torch.eye(20).double()[:2])
    y = Measurement.of(Pool(4), IMAGES, 0.1, Random(3)).y - Pool(4)(IMAGES)
    assert float(y.std()) == pytest.approx(0.1, rel=0.4)


def test_measurements_that_do_not_fit_are_refused():
    with pytest.raises(Refused, match=r"a mask of shape \(1, 8, 9\) does not fit samples of shape \(3, 8, 8\)"):
        Mask(torch.ones(1, 8, 9))(IMAGES)
    with pytest.raises(Refused, match="blocks of 3 do not divide images of 8 x 8"):
        Pool(3)(IMAGES)
    with pytest.raises(Refused, match="fewer than 300"):
        RandomProjection(300)(IMAGES)
    with pytest.raises(Refused, match=r"has shape \(2, 3, 2, 2\), and its operator gives \(2, 3, 4, 4\)"):
        Measurement(Pool(2), Pool(4)(IMAGES)).residual(IMAGES)
    with pytest.raises(Refused, match="std >= 0"):
        Measurement(Pool(2), Pool(2)(IMAGES), -1.0)
    with pytest.raises(Refused, match="not differentiable"):
        Measurement(lambda x: x.round().long(), IMAGES).linear(IMAGES)
    for wrong in (lambda: Pool(1), lambda: Blur(0.0), lambda: RandomProjection(0)):
        with pytest.raises(Refused, match="needs"):
            wrong()


def test_conjugate_gradients_solve_each_sample_for_itself():
    factor = Random(0).normal((3, 6, 6), dtype=torch.float64)
    matrix = factor @ factor.mT + 0.1 * torch.eye(6).double()
    matrix[2] = torch.eye(6)  # done after one iteration
    b = Random(1).normal((3, 6), dtype=torch.float64)
    found = conjugate_gradients(lambda u: (matrix @ u[..., None])[..., 0], b, 40)
    torch.testing.assert_close((matrix @ found[..., None])[..., 0], b)
    assert torch.equal(conjugate_gradients(lambda u: 0 * u, b, 5), torch.zeros_like(b))


COV = torch.tensor([[1.0, 0.6, 0.2], [0.6, 0.8, 0.3], [0.2, 0.3, 0.5]], dtype=torch.float64)
MEAN = torch.tensor([0.5, -0.3, 0.1], dtype=torch.float64)
A = torch.tensor([[1.0, 0.5, 0.0], [0.0, -0.4, 1.0]], dtype=torch.float64)
STD = 0.3


def given_y(mean: Tensor, cov: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The exact posterior of N(mean, cov) given y = A x + STD noise."""
    gain = cov @ A.T @ torch.linalg.inv(A @ cov @ A.T + STD**2 * torch.eye(len(A), dtype=torch.float64))
    return mean + gain @ (y - A @ mean), cov - gain @ A @ cov


Y = torch.tensor([[1.2, -0.7]], dtype=torch.float64)
MEASURED = Measurement(lambda x: x @ A.T.to(x), Y, STD)


@pytest.mark.parametrize("t", [0.02, 0.3, 0.7, 1.0, torch.tensor([0.1, 0.3, 0.5, 0.9], dtype=torch.float64)])
def test_mmps_is_exact_for_gaussian_data(t: Any):
    x_t = Random(1).normal((4, 3), dtype=torch.float64)
    guess: Any = MMPS(GaussianOracle(PROCESS, MEAN, COV), MEASURED, 5)(x_t, t)
    mean, cov = given_y(MEAN, COV, Y[0])
    wanted: Any = GaussianOracle(PROCESS, mean, cov)(x_t, t)
    torch.testing.assert_close(guess.mean, wanted.mean, atol=1e-9, rtol=0)


@pytest.mark.parametrize("t", [0.02, 0.5, 1.0])
def test_pigdm_is_exact_for_independent_data_of_its_variance_and_not_otherwise(t: float):
    x_t = Random(1).normal((4, 3), dtype=torch.float64)
    cov = 0.49 * torch.eye(3, dtype=torch.float64)
    mean, left = given_y(MEAN, cov, Y[0])
    guess: Any = PiGDM(GaussianOracle(PROCESS, MEAN, cov), MEASURED, data_std=0.7)(x_t, t)
    wanted: Any = GaussianOracle(PROCESS, mean, left)(x_t, t)
    torch.testing.assert_close(guess.mean, wanted.mean, atol=1e-9, rtol=0)
    biased: Any = PiGDM(GaussianOracle(PROCESS, MEAN, COV), MEASURED)(x_t, t)
    exact: Any = MMPS(GaussianOracle(PROCESS, MEAN, COV), MEASURED, 5)(x_t, t)
    assert float((biased.mean - exact.mean).abs().max()) > 1e-5


def posterior_moments(sampler: Any, denoiser: Any, n: int, steps: int) -> tuple[Tensor, Tensor]:
    x = sample(denoiser, (n, 3), sampler=sampler, times=LogSNR()(VP(), steps)).double()
    return x.mean(0), x.T.cov()


def test_methods_against_the_exact_gaussian_posterior():
    """MMPS: the exact law, up to steps and 4 standard errors. PiGDM: its theory holds for independent data, here its
    mean is right to a third of the prior's spread. DPS promises no more than to come closer to y than the prior.
    """
    oracle = GaussianOracle(PROCESS, MEAN, COV)
    mean, cov = given_y(MEAN, COV, Y[0])
    n = 4000
    error = 4 * (cov.diagonal() / n).sqrt()
    for sampler in (Heun(), Ancestral()):
        found, spread = posterior_moments(sampler, MMPS(oracle, MEASURED, 5), n, 100)
        assert bool(((found - mean).abs() < error + 0.01).all())
        torch.testing.assert_close(spread, cov, atol=0.03, rtol=0)
    found, _ = posterior_moments(Heun(), PiGDM(oracle, MEASURED), n, 100)
    assert bool(((found - mean).abs() < 0.3 * COV.diagonal().sqrt()).all())
    x = sample(oracle, (n, 3), sampler=DPS(Ancestral(), MEASURED), times=LogSNR()(VP(), 100)).double()
    prior = sample(oracle, (n, 3), sampler=Ancestral(), times=LogSNR()(VP(), 100)).double()
    far, before = (MEASURED.residual(each).norm(dim=1).mean() for each in (x, prior))
    assert float(far) < 0.5 * float(before)


def test_particles_reach_the_exact_posterior_of_a_mixture():
    """Two components that the measurement tells apart in part: weights, mean and covariance of the posterior."""
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.6]], dtype=torch.float64)
    covs = torch.tensor([0.2, 0.1], dtype=torch.float64)
    oracle = MixtureOracle(PROCESS, (0.5, 0.5), means, covs)
    a, y, std = torch.tensor([1.0, 0.5], dtype=torch.float64), torch.tensor([[0.8]], dtype=torch.float64), 0.5
    measured = Measurement(lambda x: (x @ a.to(x))[:, None], y, std)
    total = covs * a.square().sum() + std**2
    share = (-0.5 * (y[0] - means @ a) ** 2 / total - 0.5 * total.log()).softmax(0)
    each = means + (covs * (y[0] - means @ a) / total)[:, None] * a
    mean = share @ each
    left = covs[:, None, None] * torch.eye(2) - (covs**2 / total)[:, None, None] * torch.outer(a, a)
    apart = (each - mean)[:, :, None] * (each - mean)[:, None]
    cov = (share[:, None, None] * (left + apart)).sum(0)

    times = LogSNR()(VP(), 60)
    for inner, proposal in ((Ancestral(), None), (Ancestral(), MMPS(oracle, measured)), (Ancestral("exact"), None)):
        sampler = Particles(inner, measured, count=500, proposal=proposal)
        x = sample(oracle, (4000, 2), sampler=sampler, times=times).double()
        torch.testing.assert_close(x.mean(0), mean, atol=0.09, rtol=0)
        torch.testing.assert_close(x.T.cov(), cov, atol=0.09, rtol=0)
    plain = sample(oracle, (4000, 2), sampler=Ancestral(), times=times).double()
    assert float((plain.mean(0) - mean).abs().max()) > 0.15  # which the prior fails


def test_a_group_of_particles_is_its_own_and_mistakes_are_refused():
    oracle = GaussianOracle(PROCESS, MEAN, COV)
    sampler = Particles(Ancestral(), MEASURED, count=4)
    times = LogSNR()(VP(), 10)
    both = sample(oracle, (8, 3), sampler=sampler, times=times)
    second = sample(oracle, (4, 3), sampler=sampler, times=times, indices=torch.arange(4, 8))
    torch.testing.assert_close(both[4:], second)
    with pytest.raises(Refused, match="a batch of 6 has no whole groups of 4 particles"):
        sample(oracle, (6, 3), sampler=sampler, times=times)
    with pytest.raises(Refused, match="draws noise"):
        sample(oracle, (4, 3), sampler=Particles(DDIM(), MEASURED, count=4), times=times)
    with pytest.raises(Refused, match="std is 0"):
        Particles(Ancestral(), Measurement(lambda x: x, Y))
    with pytest.raises(Refused, match="count of 2"):
        Particles(Ancestral(), MEASURED, count=1)


def slope_and_variance(sampler: Any, steps: int, known: Tensor) -> tuple[float, float]:
    """Of x_2 given x_1 = y: the truth is 0.8 y and 0.36."""
    oracle = GaussianOracle(Gaussian(LinearBeta(steps=1000)), 0.0, torch.tensor([[1.0, 0.8], [0.8, 1.0]]).double())
    x = sample(oracle, (len(known), 2), sampler=sampler, steps=steps).double()
    torch.testing.assert_close(x[:, 0], known[:, 0].double())  # what is known comes out as it was
    slope = float((x[:, 0] * x[:, 1]).mean() / (x[:, 0] ** 2).mean())
    return slope, float((x[:, 1] - slope * x[:, 0]).var())


def test_replacement_is_biased_and_repaint_less_so():
    """X28: at 1,000 steps replacement has slope .4990 and variance .4953 where 0.8 and 0.36 are right."""
    known = Random(9).normal((1500, 2)) * torch.tensor([1.0, 0.0])
    mask = torch.tensor([1.0, 0.0])
    slope, variance = slope_and_variance(Inpaint(Ancestral(), known, mask), 1000, known)
    assert slope == pytest.approx(0.4990, abs=0.07)  # standard error 0.018
    assert variance == pytest.approx(0.4953, abs=0.07)
    some, _ = slope_and_variance(RePaint(Ancestral(), known, mask, jump=2, resample=3), 15, known)
    more, _ = slope_and_variance(RePaint(Ancestral(), known, mask, jump=2, resample=8), 15, known)
    assert slope + 0.05 < some < more + 0.02
    assert more == pytest.approx(0.8, abs=0.1)


def test_mmps_inpaints_without_that_bias():
    known = Random(9).normal((4000, 2)) * torch.tensor([1.0, 0.0])
    measured = Measurement(Mask(torch.tensor([1.0, 0.0])), known, 1e-3)
    oracle = GaussianOracle(PROCESS, 0.0, torch.tensor([[1.0, 0.8], [0.8, 1.0]]).double())
    x = sample(MMPS(oracle, measured), (4000, 2), sampler=Heun(), times=LogSNR()(VP(), 40)).double()
    slope = float((x[:, 0] * x[:, 1]).mean() / (x[:, 0] ** 2).mean())
    assert slope == pytest.approx(0.8, abs=0.04)
    assert float((x[:, 1] - slope * x[:, 0]).var()) == pytest.approx(0.36, abs=0.04)


def test_in_painting_refuses_what_does_not_fit():
    oracle = GaussianOracle(PROCESS, 0.0, 1.0)
    with pytest.raises(Refused, match=r"a mask of shape \(5,\) does not fit samples of shape \(3,\)"):
        sample(oracle, (2, 3), sampler=Inpaint(Ancestral(), torch.zeros(3), torch.ones(5)), steps=3)
    with pytest.raises(Refused, match="jump and resample of 1 or more"):
        RePaint(Ancestral(), torch.zeros(3), torch.ones(3), jump=0)


def test_dps_asks_the_network_once_a_step_and_takes_any_differentiable_operator():
    calls: list[int] = []

    class Counted(GaussianOracle):
        def __call__(self, x_t: Tensor, t: Any, **cond: Any) -> Any:
            calls.append(len(x_t))
            return super().__call__(x_t, t)

    bent = Measurement(lambda x: x.abs().sum(1, keepdim=True), torch.tensor([[2.5]], dtype=torch.float64))
    oracle = Counted(PROCESS, MEAN, COV)
    times = LogSNR()(VP(), 50)
    x = sample(oracle, (500, 3), sampler=DPS(DDIM(), bent), times=times)
    assert len(calls) == 50
    plain = sample(oracle, (500, 3), sampler=DDIM(), times=times)
    assert float(bent.residual(x).abs().mean()) < 0.02 * float(bent.residual(plain).abs().mean())
    rough = sample(oracle, (500, 3), sampler=DPS(DDIM(), bent, 0.2, step_by="constant"), times=times)
    assert float(bent.residual(rough).abs().mean()) < 0.5 * float(bent.residual(plain).abs().mean())
    steps = Measurement(lambda x: x.detach(), torch.zeros(1, 3))
    with pytest.raises(Refused, match="not differentiable"):
        sample(oracle, (2, 3), sampler=DPS(DDIM(), steps), times=times)


def test_a_step_of_dps_is_the_published_one_or_leaves_the_noise_of_the_measurement():
    """One number measured of Gaussian data: the residual is linear in x_t, and "error" brings it to std at once."""
    a = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    known = Measurement(lambda x: x @ a[:, None].to(x), torch.tensor([[9.0]], dtype=torch.float64), 0.3)
    oracle, t, s = GaussianOracle(PROCESS, MEAN, COV), torch.tensor(0.8).double(), torch.tensor(0.3).double()
    x = Random(4).normal((6, 3), dtype=torch.float64)

    def shift(sampler: Any) -> Tensor:
        plain: Any = DDIM().step(oracle, x, t, s, random=Random(0))[0]
        moved: Any = sampler.step(oracle, x, t, s, random=Random(0))[0]
        return moved.mean - plain.mean

    def missed(x: Tensor) -> Tensor:
        return known.residual(oracle(x, t).mean).norm(dim=1)

    assert float(missed(x).min()) > 1
    landed = missed(x + shift(DPS(DDIM(), known)))
    torch.testing.assert_close(landed, torch.full_like(landed, 0.3))
    met = replace(known, y=oracle(x, t).mean @ a[:, None])
    torch.testing.assert_close(shift(DPS(DDIM(), met)), torch.zeros_like(x))
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(missed(leaf).sum(), leaf)
    torch.testing.assert_close(shift(DPS(DDIM(), known, 0.7, step_by="constant")), -0.7 * slope)
    with pytest.raises(Refused, match=r"step_by of dps has no 'eror' .did you mean 'error'"):
        DPS(DDIM(), known, step_by="eror")  # type: ignore[arg-type]


@pytest.mark.parametrize("inner", [Ancestral("exact"), DDIM(0.5, "exact")], ids=repr)
def test_a_steered_step_averages_over_the_guess_s_variance_where_its_sampler_does(inner: Any):
    """DPS of weight 0 is the sampler inside, and particles draw from its step."""
    oracle, t, s = GaussianOracle(PROCESS, MEAN, COV), torch.tensor(0.8).double(), torch.tensor(0.3).double()
    x = Random(4).normal((6, 3), dtype=torch.float64)
    wanted: Any = inner.step(oracle, x, t, s, random=Random(0))[0]
    found: Any = DPS(inner, MEASURED, 0.0).step(oracle, x, t, s, random=Random(0))[0]
    plain: Any = replace(inner, variance="posterior").step(oracle, x, t, s, random=Random(0))[0]
    torch.testing.assert_close(found.mean, wanted.mean)
    torch.testing.assert_close(found.var, wanted.var)
    assert bool((wanted.var > plain.var + 0.01).all())
    many = Particles(inner, MEASURED, count=20000)
    drawn: Any = many.step(oracle, x[:1].expand(20000, 3), t, s, random=Random(0))[0]
    torch.testing.assert_close(drawn.mean.var(0), wanted.var.expand(3), rtol=0.05, atol=0)


def test_windows_of_independent_pixels_are_the_pixels_themselves():
    """For data without correlations a window's guess is each pixel's own, so the mean over windows is too."""
    oracle = GaussianOracle(PROCESS, 0.3, 0.5)
    x_t = Random(4).normal((2, 1, 11, 8), dtype=torch.float64)
    guess: Any = MultiDiffusion(oracle, (4, 4), 0.5)(x_t, 0.4)
    torch.testing.assert_close(guess.mean, torch.as_tensor(oracle(x_t, 0.4).mean))
    seen: list[Any] = []

    class Watch(GaussianOracle):
        def __call__(self, x_t: Tensor, t: Any, label: Any = None, **cond: Any) -> Any:
            seen.append((tuple(x_t.shape), None if label is None else label.tolist()))
            return super().__call__(x_t, t)

    t = torch.tensor([0.2, 0.6], dtype=torch.float64)
    MultiDiffusion(Watch(PROCESS), (4, 8), 0.0)(x_t, t, label=torch.tensor([7, 8]))
    assert seen == [((6, 1, 4, 8), [7, 8, 7, 8, 7, 8])]
    with pytest.raises(Refused, match=r"a canvas of \(11, 8\) is smaller than the model's window \(16, 16\)"):
        MultiDiffusion(oracle, (16, 16))(x_t, 0.4)
