"""Guidance by a gradient: classifiers, energies, thresholds and experts against closed forms."""

from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.core.sampler import Sampler
from undiffuse.grids.even import Even
from undiffuse.grids.karras import Karras
from undiffuse.grids.logistic import Logistic
from undiffuse.guidance import ClassifierGuidance, Composition, EnergyGuidance, FixedConditions, MeanShift, Threshold
from undiffuse.samplers import DDIM, Ancestral, Heun
from undiffuse.schedules import VP, EDMSchedule, LinearBeta

PROCESS = Gaussian(VP())
MEANS, WEIGHTS = torch.tensor([[-1.0, 0.5], [1.0, 0.0]], dtype=torch.float64), (0.3, 0.7)
COVS = torch.tensor([0.25, 0.16], dtype=torch.float64)


def mixture(process: Gaussian) -> MixtureOracle:
    return MixtureOracle(process, WEIGHTS, MEANS, COVS)


def one(process: Gaussian, k: int) -> GaussianOracle:
    return GaussianOracle(process, MEANS[k].double(), COVS[k].double().expand(2))


def exact_classifier(process: Gaussian) -> Any:
    """log p(component = label given x_t) of the mixture."""

    def log_prob(x_t: Tensor, t: Any, label: Tensor) -> Tensor:
        alpha, sigma = process.schedule.at(t, x_t)
        var = (alpha**2 * COVS.double() + sigma**2).reshape(-1, 2)  # (1 or batch, k)
        distance = (x_t[:, None] - alpha.reshape(-1, 1, 1) * MEANS.to(x_t)).square().sum(-1)
        logits = torch.tensor(WEIGHTS, dtype=torch.float64).log() - distance / (2 * var) - var.log()
        return logits.log_softmax(1).gather(1, label[:, None])[:, 0]

    return log_prob


@pytest.mark.parametrize("t", [0.05, 0.4, 0.9, torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)])
def test_an_exact_classifier_with_weight_one_gives_the_exact_conditional_guess(t: Any):
    x_t = Random(1).normal((5, 2), dtype=torch.float64)
    label = torch.tensor([0, 1, 0, 1, 0])
    guided: Any = ClassifierGuidance(mixture(PROCESS), exact_classifier(PROCESS))(x_t, t, label=label)
    for k in (0, 1):
        wanted: Any = one(PROCESS, k)(x_t, t)
        torch.testing.assert_close(guided.mean[label == k], wanted.mean[label == k], atol=1e-10, rtol=0)


def test_what_a_classifier_does_not_guide():
    oracle, x_t = mixture(PROCESS), Random(1).normal((3, 2), dtype=torch.float64)
    label, drop = torch.tensor([0, 0, 0]), torch.tensor([False, True, False])
    guided = ClassifierGuidance(oracle, exact_classifier(PROCESS), interval=(0.1, 1.0))
    plain: Any = oracle(x_t, 0.2)
    for t, cond in ((0.9, {"label": label}), (0.2, {})):
        assert torch.equal(guided(x_t, t, **cond).mean, oracle(x_t, t).mean)
    some: Any = guided(x_t, 0.2, label=label, drop=drop)
    assert torch.equal(some.mean[1], plain.mean[1])
    assert not torch.allclose(some.mean[0], plain.mean[0])
    assert guided.no_density()


def test_a_shifted_mean_reproduces_the_conditional_as_steps_grow():
    """Both places of the gradient are of first order: 4 times the steps leave about a quarter of the error."""
    process = Gaussian(LinearBeta(steps=1000))
    label = torch.zeros(4000, dtype=torch.long)
    grid = Logistic(center=1.7)
    errors: dict[tuple[str, int], float] = {}
    for at in ("start", "mean"):
        for steps in (20, 80):
            sampler = MeanShift(Ancestral(), exact_classifier(process), at=at)  # type: ignore[arg-type]
            times = grid(process.schedule, steps)
            x = sample(mixture(process), (4000, 2), sampler=sampler, times=times, label=label)
            errors[at, steps] = float((x.double().mean(0) - MEANS[0]).abs().max())
        assert errors[at, 80] < 0.1  # standard error 0.008
        assert errors[at, 80] < 0.35 * errors[at, 20]


def test_the_two_forms_of_classifier_guidance_agree_as_steps_grow():
    process = Gaussian(LinearBeta(steps=1000))
    label = torch.ones(64, dtype=torch.long)
    gaps: list[float] = []
    for steps in (25, 125):
        shifted = MeanShift(Ancestral(), exact_classifier(process))
        mine = sample(mixture(process), (64, 2), sampler=shifted, steps=steps, label=label)
        guided = ClassifierGuidance(mixture(process), exact_classifier(process))
        other = sample(guided, (64, 2), sampler=Ancestral(), steps=steps, label=label)
        gaps.append(float((mine - other).abs().mean()))
    assert gaps[1] < 0.3 * gaps[0]


def test_weight_zero_and_steps_without_noise_are_not_shifted():
    process = Gaussian(LinearBeta(steps=1000))
    label, x_t = torch.ones(4, dtype=torch.long), Random(3).normal((4, 2), dtype=torch.float64)
    times = torch.tensor(0.5).double(), torch.tensor(0.4).double()
    for sampler in (MeanShift(DDIM(), exact_classifier(process)), MeanShift(Ancestral(), exact_classifier(process), 0)):
        moved, _ = sampler.step(mixture(process), x_t, *times, random=Random(0), label=label)
        plain, _ = sampler.sampler.step(mixture(process), x_t, *times, random=Random(0))
        torch.testing.assert_close(moved.mean, plain.mean)
    with pytest.raises(Refused, match="'start' or at 'mean'"):
        MeanShift(Ancestral(), exact_classifier(process), at="end")  # type: ignore[arg-type]


def test_a_linear_energy_moves_a_gaussian_guess_by_its_covariance():
    """Score a.x tilts N(m, S) to N(m + S a, S): and the guess at x_t to that law's guess."""
    cov = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    a = torch.tensor([0.7, -0.4], dtype=torch.float64)
    x_t = Random(1).normal((5, 2), dtype=torch.float64)
    for t in (0.1, 0.5, 0.9):
        guided: Any = EnergyGuidance(GaussianOracle(PROCESS, 0.0, cov), lambda x: (x * a).sum(1))(x_t, t)
        wanted: Any = GaussianOracle(PROCESS, cov @ a, cov)(x_t, t)
        torch.testing.assert_close(guided.mean, wanted.mean, atol=1e-10, rtol=0)


def test_an_energy_s_interval_conditions_and_mistakes():
    oracle, x_t = GaussianOracle(PROCESS, 0.0, 0.5), Random(1).normal((3, 2), dtype=torch.float64)
    wanted = torch.tensor([1.0, 2.0, 3.0]).double()
    guided = EnergyGuidance(oracle, lambda x, aim: -(x.sum(1) - aim).square(), reads=("aim",), interval=(0.0, 5.0))
    assert torch.equal(guided(x_t, 0.9, aim=wanted).mean, oracle(x_t, 0.9).mean)
    assert not torch.allclose(guided(x_t, 0.3, aim=wanted).mean, oracle(x_t, 0.3).mean)
    with pytest.raises(Refused, match=r"the score must give one number a sample, shape \(3,\), not \(3, 2\)"):
        EnergyGuidance(oracle, lambda x: x)(x_t, 0.3)
    with pytest.raises(Refused, match="the score is not differentiable"):
        EnergyGuidance(oracle, lambda x: x.sum(1).round().long().double())(x_t, 0.3)


class Fixed(GaussianOracle):
    """Guesses one thing."""

    def __init__(self, guess: Tensor) -> None:
        super().__init__(PROCESS)
        self.guess = guess

    def __call__(self, x_t: Tensor, t: Any, **cond: Any) -> Normal:
        return Normal(self.guess)


def test_thresholding_by_hand():
    """X30: percentile 0.8 of 3, 1.5, 0, 0.5, 2 is 2.2."""
    guess = torch.tensor([[-3.0, -1.5, 0.0, 0.5, 2.0], [-0.9, 0.1, 0.2, 0.3, 0.4]]).double()
    dynamic: Any = Threshold(Fixed(guess), (-1.0, 1.0), 0.8)(guess, 0.5)
    wanted = torch.tensor([-1, -0.68181818, 0, 0.22727273, 0.90909091], dtype=torch.float64)
    torch.testing.assert_close(dynamic.mean[0], wanted, atol=1e-8, rtol=0)
    assert torch.equal(dynamic.mean[1], guess[1])  # inside the bounds it is the identity
    static: Any = Threshold(Fixed(guess), (-1.0, 1.0))(guess, 0.5)
    assert torch.equal(static.mean, guess.clamp(-1, 1))
    shifted: Any = Threshold(Fixed(2 + 3 * guess), (-1.0, 5.0), 0.8)(guess, 0.5)
    torch.testing.assert_close(shifted.mean, 2 + 3 * dynamic.mean)


def test_the_quantile_is_each_sample_s_own_and_the_noise_follows_the_clipped_guess():
    guess = 3 * Random(5).normal((4, 1, 6, 6))
    belief: Any = Threshold(Fixed(guess), (-1.0, 1.0), 0.9)(guess, 0.5)
    s = torch.quantile(guess.flatten(1).abs(), 0.9, dim=1).clamp(min=1).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(belief.mean, guess.clamp(-s, s) / s)
    x_t = Random(6).normal((4, 1, 6, 6))
    step, _ = DDIM().step(
        Threshold(Fixed(guess), (-1.0, 1.0), 0.9), x_t, torch.tensor(0.5), torch.tensor(0.2), random=Random(0)
    )
    (alpha, sigma), (alpha_s, sigma_s) = (PROCESS.schedule.at(t, x_t) for t in (0.5, 0.2))
    noise = (x_t - alpha * belief.mean) / sigma
    torch.testing.assert_close(step.mean, (alpha_s * belief.mean + sigma_s * noise).float())


def test_thresholding_is_refused_where_it_has_no_meaning():
    with pytest.raises(Refused, match="needs data with bounds"):
        Threshold(Fixed(torch.zeros(1, 2)), None, 0.995)
    with pytest.raises(Refused, match="bounds of the data must rise"):
        Threshold(Fixed(torch.zeros(1, 2)), (1.0, -1.0))
    with pytest.raises(Refused, match="percentile in"):
        Threshold(Fixed(torch.zeros(1, 2)), (-1.0, 1.0), 99.5)


def test_experts_add_up_what_each_moves():
    base, first, second = (GaussianOracle(PROCESS, m, 0.5) for m in (0.0, 1.0, -2.0))
    x_t = Random(1).normal((5, 2), dtype=torch.float64)
    means = [torch.as_tensor(d(x_t, 0.5).mean) for d in (base, first, second)]

    class Means(GaussianOracle):
        def __call__(self, x_t: Tensor, t: Any, **cond: Any) -> Normal:
            return super().__call__(x_t, t).mean_only()

    plain = [Means(PROCESS, m, 0.5) for m in (0.0, 1.0, -2.0)]
    guess: Any = Composition(plain[0], plain[1:], (0.7, 1.5))(x_t, 0.5)
    torch.testing.assert_close(guess.mean, means[0] + 0.7 * (means[1] - means[0]) + 1.5 * (means[2] - means[0]))
    exact: Any = Composition(base, (first, second))(x_t, 0.5)  # equal variances: precisions add up to the same
    torch.testing.assert_close(exact.mean, means[1] + means[2] - means[0])
    with pytest.raises(Refused, match="one weight an expert"):
        Composition(base, (first,), (1.0, 2.0))


def test_the_sum_of_guesses_is_not_the_product_of_experts():
    """The chain of three states with correlation 0.8 (two pairs that share the middle): METHODS of composition."""
    rho = 0.8
    process = Gaussian(EDMSchedule())
    pair = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)

    class Sum(GaussianOracle):
        """Guess of pair (1, 2) and of pair (2, 3), less the middle's own."""

        def __call__(self, x_t: Tensor, t: Any, **cond: Any) -> Normal:
            both = GaussianOracle(process, 0.0, pair)
            left, right = (torch.as_tensor(both(x_t[:, part], t).mean) for part in (slice(0, 2), slice(1, 3)))
            middle = torch.as_tensor(GaussianOracle(process, 0.0, 1.0)(x_t[:, 1:2], t).mean)
            score = [left[:, :1], left[:, 1:] + right[:, :1] - middle, right[:, 1:]]
            return Normal(torch.cat(score, 1))

    times = Karras(sigma_min=1e-3, sigma_max=80.0)(process.schedule, 200)
    end = sample(Sum(process), (3, 3), sampler=Heun(), times=times, start=80 * torch.eye(3, dtype=torch.float64))
    cov = end.T @ end
    assert cov[0, 1] == pytest.approx(0.747, abs=2e-3)
    assert cov[0, 2] == pytest.approx(0.384, abs=2e-3)
    assert cov[1, 1] == pytest.approx(0.973, abs=2e-3)


def test_given_fixes_a_condition_and_refuses_a_second():
    class Told(GaussianOracle):
        def __call__(self, x_t: Tensor, t: Any, label: Any = None, **cond: Any) -> Normal:
            return Normal(label[:, None].to(x_t).expand_as(x_t))

    x_t = torch.zeros(3, 2)
    assert torch.equal(FixedConditions(Told(PROCESS), label=4)(x_t, 0.5).mean, torch.full((3, 2), 4.0))
    each = FixedConditions(Told(PROCESS), label=torch.tensor([1, 2, 3]))(x_t, 0.5).mean
    assert torch.equal(each[:, 0], torch.tensor([1.0, 2.0, 3.0]))
    with pytest.raises(Refused, match="the condition 'label' is given twice"):
        FixedConditions(Told(PROCESS), label=4)(x_t, 0.5, label=torch.tensor([1, 1, 1]))


@pytest.mark.parametrize("sampler", [Ancestral(), DDIM(), Heun()])
def test_gradient_guidance_runs_under_every_kind_of_sampler_and_reaches_the_class(sampler: Sampler):
    label = torch.zeros(200, dtype=torch.long)
    guided = ClassifierGuidance(mixture(PROCESS), exact_classifier(PROCESS))
    x = sample(guided, (200, 2), sampler=sampler, times=Even()(VP(), 100), label=label)
    near = (x - MEANS[0]).norm(dim=1) < (x - MEANS[1]).norm(dim=1)
    assert float(near.double().mean()) > 0.97


def test_inference_mode_has_no_gradients_and_is_named():
    guided = EnergyGuidance(mixture(PROCESS), lambda x: x.square().sum(1), 1.0)
    x = torch.ones(2, 2, dtype=torch.float64)
    with torch.no_grad():
        guided(x, 0.5)
    with torch.inference_mode(), pytest.raises(Refused, match=r"inside torch.no_grad\(\) it has them, in torch.infer"):
        guided(x, 0.5)
