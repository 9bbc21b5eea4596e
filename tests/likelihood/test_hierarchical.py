"""The bound of a VAE against closed forms, and that a diffusion model's bound is that of a hierarchical VAE."""

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.reverse import BOUND, reverse
from undiffuse.likelihood import Decoder, HierarchicalVAE, elbo, hierarchical, importance_weighted
from undiffuse.likelihood.terms import prior, reconstruction, step
from undiffuse.schedules import LinearBeta

STANDARD = Normal(torch.zeros((), dtype=torch.float64), 1.0)


@dataclass(frozen=True)
class Nodes(Random):
    """Draws nothing: the noise of layer i are nodes of a quadrature, (count, layers)."""

    seed: int = 0
    noise: Any = None
    layer: int = 0

    def fold(self, *path: int) -> "Nodes":
        return replace(self, layer=path[0])

    def normal(self, shape: tuple[int, ...], dtype: Any = None, device: Any = None) -> Tensor:
        return self.noise[:, self.layer].reshape(shape)


def hermite(nodes: int, dimensions: int) -> tuple[Tensor, Tensor]:
    """Nodes (count, dimensions) and weights (count,) of expectations over independent standard normals."""
    x, w = (torch.from_numpy(each) for each in np.polynomial.hermite_e.hermegauss(nodes))
    grids = torch.cartesian_prod(*[x] * dimensions).reshape(-1, dimensions)
    chance = torch.cartesian_prod(*[w / math.sqrt(2 * math.pi)] * dimensions).reshape(-1, dimensions).prod(1)
    return grids, chance


def linear(mean: Any, std: Any) -> HierarchicalVAE:
    """x = z + e, e ~ N(0, 1/2), with q(z | x) = N(mean, std^2)."""
    return HierarchicalVAE(
        up=(lambda x: Normal(mean + 0 * x, std**2 + 0 * x),),
        log_prob=lambda x, z: Normal(z, 0.5).log_prob(x),
        prior=STANDARD,
    )


ONE = torch.ones(1, 1, dtype=torch.float64)
POSTERIOR = (torch.tensor(2 / 3, dtype=torch.float64), torch.tensor(1 / 3, dtype=torch.float64).sqrt())
PRIOR = (torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))


def expected(vae: HierarchicalVAE, x: Tensor, nodes: int = 3) -> Tensor:
    """The bound on average over one-dimensional latents of each x (n, 1), in nats: (n,)."""
    noise, chance = hermite(nodes, len(vae.up))
    many = x.repeat_interleave(len(noise), 0)
    top, steps, rebuilt = vae.terms(many, Nodes(noise=noise.repeat(len(x), 1)))
    return ((top + steps.sum(1) + rebuilt).reshape(len(x), -1) * chance).sum(1)


@pytest.mark.parametrize(("q", "wanted"), [(POSTERIOR, 1.455004), (PRIOR, 2.572365)], ids=["exact", "prior"])
def test_the_bound_of_the_linear_vae_is_that_of_the_catalogue(q: tuple[Tensor, Tensor], wanted: float):
    """X23: log p(1) = -1.455004 under N(0, 3/2); the exact posterior N(2/3, 1/3) reaches it, the prior does not."""
    assert float(expected(linear(*q), ONE)) == pytest.approx(wanted, abs=1e-6)


def test_the_rate_of_the_linear_vae_is_the_divergence_to_the_prior():
    """X23: KL(N(2/3, 1/3) || N(0, 1)) = .438195, and the gap of the bound at q = prior is KL(prior || posterior)."""
    found = hierarchical(linear(*POSTERIOR), ONE)
    assert float(found.prior) == pytest.approx(0.438195, abs=1e-6)
    gap = Normal(PRIOR[0][None, None], PRIOR[1] ** 2).kl(Normal(POSTERIOR[0][None, None], POSTERIOR[1] ** 2))
    assert float(gap) == pytest.approx(1.117361, abs=1e-6)


def test_the_exact_posterior_leaves_no_noise_in_the_weights():
    """p(x, z) / q(z | x) is p(x) for every z, so that one importance sample is as good as many."""
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    exact = HierarchicalVAE((lambda x: Normal(x * 2 / 3, 1 / 3),), lambda x, z: Normal(z, 0.5).log_prob(x), STANDARD)
    wanted = -Normal(torch.zeros_like(x), 1.5).log_prob(x)
    for k in (1, 5):
        torch.testing.assert_close(importance_weighted(exact, x, k), wanted, rtol=0, atol=1e-12)


def test_importance_samples_close_the_gap_as_the_quadrature_says():
    """E[log 1/2 (w_1 + w_2)] of the linear VAE with q = prior, and that it is nearer to log p than one sample."""
    vae, count = linear(*PRIOR), 4000
    noise, chance = hermite(60, 2)
    both = [vae.log_weight(ONE.expand(len(noise), 1), Nodes(noise=noise[:, [i]])) for i in (0, 1)]
    wanted = math.log(2) - float((torch.logaddexp(*both) * chance).sum())
    found = importance_weighted(vae, ONE.expand(count, 1), 2)
    assert abs(float(found.mean()) - wanted) < 4 * float(found.std()) / count**0.5
    assert 1.455004 < float(importance_weighted(vae, ONE.expand(count, 1), 16).mean()) < wanted < 2.572365


def test_the_reparameterised_gradient_is_that_of_the_closed_form():
    """-ELBO = 1/2 log pi + (1 - m)^2 + s^2 + 1/2 (m^2 + s^2 - 1 - log s^2) at x = 1."""
    m, s = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.3, 0.7))
    expected(linear(m, s), ONE).sum().backward()
    assert m.grad is not None
    assert s.grad is not None
    assert float(m.grad) == pytest.approx(-2 * (1 - 0.3) + 0.3, abs=1e-12)
    assert float(s.grad) == pytest.approx(2 * 0.7 + 0.7 - 1 / 0.7, abs=1e-12)


def test_the_bound_at_the_ml_solution_of_probabilistic_pca_is_the_exact_likelihood():
    """W = U (Lambda - s2)^(1/2), s2 the mean of the other eigenvalues: q(z | x) is diagonal there, and exact."""
    torch.manual_seed(0)
    data = torch.randn(40, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64)
    mean, cov = data.mean(0), torch.cov(data.T, correction=0)
    values, vectors = (each.flip(-1) for each in torch.linalg.eigh(cov))
    noise = values[2:].mean()
    w = vectors[:, :2] * (values[:2] - noise).sqrt()
    m = values[:2]  # W'W + s2 I, diagonal
    vae = HierarchicalVAE(
        (lambda x: Normal((x - mean) @ w / m, noise / m),),
        lambda x, z: Normal(z @ w.T + mean, noise).log_prob(x),
        STANDARD,
    )
    exact = torch.distributions.MultivariateNormal(mean, w @ w.T + noise * torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(importance_weighted(vae, data, 1), -exact.log_prob(data), rtol=0, atol=1e-9)
    found = hierarchical(vae, data, draws=64)
    off = (found.nats + exact.log_prob(data)) / found.draw_error
    assert float(off.abs().max()) < 4.5
    assert float(found.nats.mean()) == pytest.approx(-float(exact.log_prob(data).mean()), abs=0.05)


def test_two_layers_with_exact_posteriors_reach_the_likelihood():
    """z_2 ~ N(0, 1), z_1 = z_2 + e, x = z_1 + e with variances 1/2 and 1/4: x ~ N(0, 7/4), whatever was drawn."""
    vae = HierarchicalVAE(
        up=(lambda x: Normal(x * 6 / 7, 3 / 14), lambda z: Normal(z * 2 / 3, 1 / 3)),
        down=(lambda z: Normal(z, 0.5),),
        log_prob=lambda x, z: Normal(z, 0.25).log_prob(x),
        prior=STANDARD,
    )
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    wanted = -Normal(torch.zeros_like(x), 1.75).log_prob(x)
    torch.testing.assert_close(importance_weighted(vae, x, 1), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(expected(vae, x), wanted, rtol=0, atol=1e-12)
    assert hierarchical(vae, x).times.tolist() == [1.0, 0.5]


PROCESS = Gaussian(LinearBeta())
GAUSSIAN = GaussianOracle(PROCESS, 0.1, 0.25)
MIXTURE = MixtureOracle(PROCESS, [0.3, 0.7], torch.tensor([[-0.6], [0.5]]).double(), torch.full((2, 1), 0.09).double())


def ancestor(denoiser: Any, times: Tensor, variance: Any) -> HierarchicalVAE:
    """The hierarchical VAE whose q are the kernels that noise the data, and whose p are the denoiser's steps back."""
    process = denoiser.process

    def noised(s: float, t: float, x_s: Tensor) -> Normal:
        keep = float(process.schedule.alpha(torch.tensor(t)) / process.schedule.alpha(torch.tensor(s)))
        return Normal(keep * x_s, process.kernel_variance(s, t, x_s))

    def cleaner(s: float, t: float, x_t: Tensor) -> Any:
        return reverse(process, x_t, denoiser(x_t, t), s, t, variance, BOUND)

    rising = times.flip(0).tolist()
    return HierarchicalVAE(
        up=tuple(partial(noised, s, t) for s, t in pairwise(rising)),
        down=tuple(partial(cleaner, s, t) for s, t in pairwise(rising[1:])),
        log_prob=lambda x, z: reconstruction(process, x, z, denoiser(z, rising[1]), times, variance),
        prior=Normal(torch.zeros((), dtype=torch.float64), process.schedule.prior_std(times[0]) ** 2),
    )


def ddpm_bound(denoiser: Any, x: Tensor, times: Tensor, variance: Any, nodes: int) -> Tensor:
    """KL(q(x_T | x) || p) + sum KL(q(x_s | x_t, x) || p(x_s | x_t)) - E log p(x | x_1) by quadrature, (n,)."""
    process, (noise, chance) = denoiser.process, hermite(nodes, 1)
    many = x.repeat_interleave(len(noise), 0)
    total = prior(process, x, times[0])
    for i, t in enumerate(times[:-1]):
        alpha, sigma = process.schedule.at(t, many)
        x_t = alpha * many + sigma * noise.repeat(len(x), 1)
        guess = denoiser(x_t, t)
        last = i == len(times) - 2
        term = (
            -reconstruction(process, many, x_t, guess, times, variance)
            if last
            else step(process, many, x_t, guess, times[i + 1], t, variance)
        )
        total = total + (term.reshape(len(x), -1) * chance).sum(1)
    return total


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_the_bound_of_a_diffusion_model_is_that_of_a_hierarchical_vae(variance: str):
    """Number for number: all terms of a Gaussian are quadratic in the noise, so that three nodes are exact."""
    x = torch.tensor([[-0.4], [0.1], [1.3]], dtype=torch.float64)
    for steps in (1, 2, 4):
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        found = expected(ancestor(GAUSSIAN, times, variance), x)
        torch.testing.assert_close(found, ddpm_bound(GAUSSIAN, x, times, variance, 3), rtol=1e-10, atol=1e-9)


def test_the_same_where_the_guess_is_not_linear():
    x = torch.tensor([[-0.4], [0.1], [1.3]], dtype=torch.float64)
    times = torch.tensor([1.0, 0.6, 0.3, 0.0], dtype=torch.float64)
    found = expected(ancestor(MIXTURE, times, "exact"), x, 40)
    torch.testing.assert_close(found, ddpm_bound(MIXTURE, x, times, "exact", 80), rtol=1e-6, atol=0)


def test_what_elbo_draws_agrees_with_what_the_hierarchical_vae_draws():
    times = torch.tensor([1.0, 0.6, 0.3, 0.0], dtype=torch.float64)
    x = torch.tensor([[-0.4]], dtype=torch.float64).expand(4000, 1)
    one = elbo(MIXTURE, x, times, variance="exact").nats
    other = hierarchical(ancestor(MIXTURE, times, "exact"), x, seed=1).nats
    error = float((one.var() + other.var()) / len(x)) ** 0.5
    assert abs(float(one.mean() - other.mean())) < 4 * error


def test_levels_and_draws_are_counted_as_in_the_other_bounds():
    decoder = Decoder(levels=4)
    vae = HierarchicalVAE(
        (lambda x: Normal(x.double() / 2, 0.1),), lambda x, z: decoder.log_prob(x, Normal(z, 0.04)), STANDARD
    )
    x = torch.tensor([[-1.0, 1 / 3], [1.0, -1 / 3]], dtype=torch.float64)
    whole = hierarchical(vae, x, draws=3, seed=5)
    one = hierarchical(vae, x[1:], draws=3, seed=5, indices=torch.tensor([1]))
    assert torch.equal(whole.nats[1:], one.nats), "a datum depends on the seed and its index alone"
    assert torch.equal(whole.nats, hierarchical(vae, x, draws=3, seed=5, batch=1).nats)
    assert torch.allclose(whole.bits_per_dim, whole.nats / (2 * math.log(2)))
    assert bool(whole.draw_error.isfinite().all())
    assert bool(hierarchical(vae, x).draw_error.isnan().all())
    single = importance_weighted(vae, x, 4, seed=5, indices=torch.tensor([3, 1]), batch=1)
    assert torch.equal(single[1:], importance_weighted(vae, x[1:], 4, seed=5, indices=torch.tensor([1])))


def test_what_has_no_bound_is_refused():
    certain = HierarchicalVAE((lambda x: Normal(x, 0.0),), lambda x, z: x[:, 0], STANDARD)
    x = torch.zeros(1, 1, dtype=torch.float64)
    for of in (hierarchical, partial(importance_weighted, k=2)):
        with pytest.raises(Refused, match="certain: a latent without noise has no density"):
            of(certain, x)
        with pytest.raises(Refused, match="no data to score"):
            of(certain, x[:0])
    with pytest.raises(Refused, match="at least 1 draw of z, not 0"):
        hierarchical(certain, x, draws=0)
    with pytest.raises(Refused, match="at least 1 importance sample, not 0"):
        importance_weighted(certain, x, 0)
    with pytest.raises(Refused, match="for all but the top one: 1, not 0"):
        HierarchicalVAE((certain.up[0], certain.up[0]), certain.log_prob, STANDARD)
