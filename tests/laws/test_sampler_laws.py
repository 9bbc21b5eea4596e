"""Every sampler reaches the exact law of a Gaussian, a mixture and, where it applies, a table of tokens."""

import math
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.joint import Joint
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle, MixtureOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.product import Product
from undiffuse.core.random import Random
from undiffuse.core.sample import sample, trajectory
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule
from undiffuse.grids.even import Even
from undiffuse.grids.karras import Karras
from undiffuse.samplers import (
    DDIM,
    Ancestral,
    AnnealedLangevin,
    Euler,
    Heun,
    Jump,
    Multistep,
    ProbabilityFlow,
)
from undiffuse.schedules import VE, VP, ContinuousCosine, EDMSchedule, FlowSchedule, LinearBeta, LogLinear

SCHEDULES = [VP(), EDMSchedule(), VE()]
EXACT_AT_ANY_COUNT = (Ancestral(variance="exact"), Jump(fresh=1.0))
MEAN, STD = 0.3, 0.5


@dataclass(frozen=True)
class Recorder(Random):
    """A stream that draws zeros and remembers them, so that a run's end can be differentiated by its noise."""

    drawn: list[Tensor] = field(default_factory=list)

    def fold(self, *path: int) -> Random:
        return self

    def normal(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float64, device: Any = None) -> Tensor:
        self.drawn.append(torch.zeros(shape, dtype=dtype, requires_grad=True))
        return self.drawn[-1]


def final_law(
    sampler: Sampler, schedule: Schedule, times: Tensor, std: float = STD, mean: float = MEAN
) -> tuple[float, float]:
    """The exact mean and std that the sampler ends with on N(mean, std^2), started from the exact q(x_t).

    Against the exact denoiser a run is affine in its start and in all of its noise,
    so its variance is the sum of its squared derivatives.
    """
    process = Gaussian(schedule)
    random = Recorder(0)
    alpha, sigma = (float(c) for c in schedule.at(times[0], torch.zeros(1)))
    unit = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    x = alpha * mean + math.hypot(alpha * std, sigma) * unit
    *_, x = trajectory(GaussianOracle(process, mean, std**2), sampler, x, times, random=random)
    slopes = torch.autograd.grad(x.sum(), [unit, *random.drawn], allow_unused=True)
    return float(x.detach()), math.sqrt(sum(float((s**2).sum()) for s in slopes if s is not None))


def test_every_sampler_reaches_the_exact_law_of_a_gaussian(sampler_of_any_order: Sampler):
    sampler = sampler_of_any_order
    for schedule in SCHEDULES:
        coarse, fine = (final_law(sampler, schedule, Karras()(schedule, steps)) for steps in (12, 48))
        (mean_12, std_12), (mean_48, std_48) = coarse, fine
        floor = 1e-3 * STD  # VE's lowest noise, 0.01, from which the last step jumps to the guess
        assert abs(mean_48 - MEAN) < max(0.35 * abs(mean_12 - MEAN), floor), schedule
        assert abs(std_48 - STD) < max(0.35 * abs(std_12 - STD), floor), (
            schedule
        )  # first order at least: a quarter, but for higher terms
        assert abs(std_48 - STD) < 0.13 * STD, schedule


@pytest.mark.each("sampler", EXACT_AT_ANY_COUNT, ids=repr)
@pytest.mark.each(
    "schedule", [VP(), FlowSchedule(), EDMSchedule(), ContinuousCosine(), LinearBeta()], ids=lambda s: type(s).__name__
)
@pytest.mark.each("steps", [1, 2, 7])
def test_bridges_averaged_over_the_exact_posterior_are_exact_at_any_count(
    sampler: Sampler, schedule: Schedule, steps: int
):
    mean, std = final_law(sampler, schedule, Even()(schedule, steps))
    assert mean == pytest.approx(MEAN, abs=1e-9)
    assert std == pytest.approx(STD, abs=1e-9)


# A mixture in one dimension: the probability-flow ODE carries quantiles to quantiles, so its exact map is known.

WEIGHTS, MEANS, STDS = (torch.tensor(v, dtype=torch.float64) for v in ((0.3, 0.7), (-0.6, 0.5), (0.15, 0.25)))


def mixture_cdf(x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The distribution function of q(x_t), (n,) -> (n,)."""
    std = (alpha**2 * STDS**2 + sigma**2).sqrt()
    return (WEIGHTS * torch.special.ndtr((x[:, None] - alpha * MEANS) / std)).sum(-1)


QUANTILES = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000


@cache
def mixture_start(schedule: Schedule, t: float) -> Tensor:
    return mixture_quantile(QUANTILES, schedule, t)[:, None]


def mixture_quantile(u: Tensor, schedule: Schedule, t: Tensor | float) -> Tensor:
    """Its inverse, by bisection."""
    alpha, sigma = schedule.at(t, u)
    low, high = torch.full_like(u, -600), torch.full_like(u, 600)
    for _ in range(70):
        middle = (low + high) / 2
        below = mixture_cdf(middle, alpha, sigma) < u
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def mixture(schedule: Schedule) -> MixtureOracle:
    return MixtureOracle(Gaussian(schedule), WEIGHTS, MEANS[:, None], STDS**2)


def test_every_sampler_reaches_the_exact_law_of_a_mixture(sampler_of_any_order: Sampler):
    """By the largest distance between distribution functions: chance alone stays below 0.03 with 4000 draws (p =
    0.0015), the rest is for 50 steps.
    """
    schedule = VP()
    times = Karras()(schedule, 50)
    start = mixture_start(schedule, float(times[0]))
    with torch.no_grad():
        *_, x = trajectory(mixture(schedule), sampler_of_any_order, start, times, random=Random(0))
    alpha, sigma = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    ranks = mixture_cdf(x.flatten().sort().values, alpha, sigma)
    assert float((ranks - QUANTILES).abs().max()) < 0.04


@pytest.mark.parametrize(
    ("sampler", "bound"),
    [
        (DDIM(), 0.02),
        (Euler(), 0.02),
        (Multistep(1), 0.02),
        (Heun(), 0.002),
        (Multistep(2), 0.002),
        (Multistep(3), 0.001),
    ],
    ids=repr,
)
def test_deterministic_samplers_follow_the_exact_map_of_the_ode(sampler: Sampler, bound: float):
    errors: list[float] = []
    quantiles = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    for schedule in (VP(), EDMSchedule(), FlowSchedule()):
        times = Karras()(schedule, 60)
        start = mixture_quantile(quantiles, schedule, times[0])[:, None]
        *_, x = trajectory(mixture(schedule), sampler, start, times, random=Random(0))
        one, none = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        errors.append(float((mixture_cdf(x[:, 0], one, none) - quantiles).abs().max()))
    assert max(errors) < bound, errors


# Tokens: a step from every sequence gives the transition matrix; the law a sampler ends with is a product of matrices.


def all_sequences(size: int, length: int) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(size)] * length).reshape(-1, length)


def token_law(sampler: Sampler, oracle: TokenOracle, length: int, times: Tensor) -> Tensor:
    """The exact probability of each sequence at the end of the run."""
    process: Any = oracle.process
    states = all_sequences(len(process.noise), length)
    law = oracle.process.prior((len(states), length)).log_prob(states).exp()
    for t, s in pairwise(times):
        belief, memory = sampler.step(oracle, states, t, s, random=Random(0))
        assert memory is None
        probs: Tensor = belief.mean  # (from, position, token)
        moves = torch.stack([probs[:, i, states[:, i]] for i in range(length)]).prod(0)  # (from, to)
        law = law @ torch.where(law[:, None] > 0, moves, 0.0)  # where one can never be, nothing is known
    return law


NOISES = {"uniform": uniform(3), "mask": mask(3), "arbitrary": (0.2, 0.3, 0.5)}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
def test_samplers_for_tokens_reach_the_exact_law_of_a_token_in_any_number_of_steps(
    general_sampler: Sampler, noise: tuple[float, ...]
):
    data = torch.tensor([0.85, 0.15, 0.0], dtype=torch.float64)
    for schedule in (LogLinear(floor=0.0), ContinuousCosine()):
        oracle = TokenOracle(Categorical(schedule, noise), torch.tensor([[0], [1]]), data[:2])
        for steps in (1, 2, 5):
            torch.testing.assert_close(
                token_law(general_sampler, oracle, 1, Even()(schedule, steps)), data, rtol=0, atol=1e-9
            )


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
def test_samplers_for_tokens_reach_the_exact_law_of_a_table_of_sequences(
    general_sampler: Sampler, noise: tuple[float, ...]
):
    """Positions are drawn independently in a step, so two correlated tokens need many steps;
    the distance falls as 1/steps.
    """
    if general_sampler == Jump(fresh=1.0):  # one that forgets x_t never learns what it drew
        return
    oracle = TokenOracle(Categorical(FlowSchedule(), noise), torch.tensor([[0, 0], [1, 1], [0, 1]]), [0.5, 0.4, 0.1])
    states = all_sequences(3, 2)
    data = (states[:, None] == oracle.sequences).all(-1).double() @ oracle.probs
    far, near = (
        (token_law(general_sampler, oracle, 2, Even()(FlowSchedule(), n)) - data).abs().sum() / 2 for n in (10, 40)
    )
    assert float(near) < 0.45 * float(far)
    assert float(near) < 0.04


@pytest.mark.parametrize("sampler", [Ancestral(), DDIM(), DDIM(eta=0.5)], ids=repr)
def test_drawn_tokens_have_the_frequencies_of_the_table(sampler: Sampler):
    """Through sample() itself: total variation within what 4000 draws allow (the expected is about 0.018,
    5 sigma above it 0.05).
    """
    oracle = TokenOracle(Categorical(LogLinear(), mask(3)), torch.tensor([[0, 0], [1, 1], [0, 1]]), [0.5, 0.4, 0.1])
    drawn = sample(oracle, (4000, 2), sampler=sampler, times=Even()(LogLinear(), 32))
    states = all_sequences(3, 2)
    data = (states[:, None] == oracle.sequences).all(-1).double() @ oracle.probs
    law = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9) / len(drawn)
    assert float((law - data).abs().sum() / 2) < 0.05


@dataclass(frozen=True)
class Both(Denoiser):
    """Two independent parts, each with its exact denoiser."""

    parts: dict[str, Any]

    @property
    def process(self) -> Any:  # type: ignore[override]
        return Product({name: part.process for name, part in self.parts.items()})

    def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Distribution:
        return Joint({name: part(x_t[name], t) for name, part in self.parts.items()})


@pytest.mark.parametrize("sampler", [Ancestral(), Ancestral("exact"), DDIM(), DDIM(0.7), Jump(fresh=1.0)], ids=repr)
def test_several_parts_are_sampled_together(sampler: Sampler):
    both = Both(
        {
            "value": GaussianOracle(Gaussian(VP()), MEAN, STD**2),
            "token": TokenOracle(Categorical(LogLinear(), mask(3)), torch.tensor([[0], [1]]), [0.3, 0.7]),
        }
    )
    x = sample(both, {"value": (4000, 1), "token": (4000, 1)}, sampler=sampler, times=Even()(VP(), 40))
    assert float(x["value"].mean()) == pytest.approx(MEAN, abs=0.05)
    assert float(x["value"].std()) == pytest.approx(STD, rel=0.2)  # posterior: 40 steps leave it 13 % narrow
    assert torch.bincount(x["token"].flatten(), minlength=3).tolist()[2] == 0
    assert float(x["token"].double().mean()) == pytest.approx(0.7, abs=0.04)
    assert abs(float(torch.corrcoef(torch.stack([x["value"][:, 0], x["token"][:, 0].float()]))[0, 1])) < 0.08


# What holds for every sampler, whatever it does.


def test_step_by_step_equals_one_call(sampler: Sampler):
    oracle = mixture(VP())
    times = Karras()(VP(), 8)
    whole = sample(oracle, (6, 1), sampler=sampler, times=times, seed=5)
    x = oracle.process.prior((6, 1), times[0]).sample(Random(5).fold(-1))
    states = list(trajectory(oracle, sampler, x, times, random=Random(5)))
    assert len(states) == 8
    assert torch.equal(states[-1], whole)
    torch.testing.assert_close(
        sample(oracle, (6, 1), sampler=sampler, times=times, seed=5, start=x), whole, rtol=0, atol=0
    )


def test_a_sample_depends_on_seed_and_index_only(sampler: Sampler):
    oracle = mixture(VP())
    times = Karras()(VP(), 6)

    def draw(count: int, **given: Any) -> Tensor:
        return sample(oracle, (count, 1), sampler=sampler, times=times, **given)

    whole = draw(7, seed=3)
    assert torch.equal(draw(7, seed=3), whole)
    order = torch.tensor([6, 2, 2])
    assert torch.equal(draw(3, seed=3, indices=order), whole[order])
    torch.manual_seed(99)
    assert torch.equal(draw(2, seed=3), whole[:2])
    assert not torch.equal(draw(7, seed=4), whole)


def test_one_step_lands_on_the_guess_and_all_steps_of_a_table_work(sampler: Sampler):
    """From t = 1 to 0 in one step every bridge ends in the belief itself; samplers that move within a step do not."""
    oracle = GaussianOracle(Gaussian(VP()), MEAN, STD**2)
    x = Random(0).normal((4, 1), dtype=torch.float64)
    belief, _ = sampler.step(oracle, x, torch.tensor(1.0).double(), torch.tensor(0.0).double(), random=Random(0))
    if not isinstance(sampler, AnnealedLangevin | ProbabilityFlow):
        torch.testing.assert_close(belief.mean, oracle(x, 1.0).mean, rtol=1e-9, atol=1e-9)
    schedule = LinearBeta(steps=25, beta_start=0.004, beta_end=0.5)
    mean, std = final_law(sampler, schedule, Even()(schedule, 25))
    assert mean == pytest.approx(MEAN, abs=0.15 * STD)
    assert std == pytest.approx(STD, rel=0.25)


def test_the_state_is_not_touched(sampler: Sampler):
    x = Random(0).normal((4, 1), dtype=torch.float64)
    before = x.clone()
    list(trajectory(mixture(VP()), sampler, x, Karras()(VP(), 5), random=Random(0)))
    assert torch.equal(x, before)
    with pytest.raises(AttributeError):
        sampler.grid = ""  # type: ignore[misc]


@pytest.mark.parametrize(
    ("sampler", "calls"),
    [(DDIM(), 9), (Ancestral(), 9), (Euler(), 9), (Multistep(3), 9), (Jump(fresh=1.0), 9), (Heun(), 17)],
    ids=repr,
)
def test_calls_of_the_network(sampler: Sampler, calls: int):
    """One a step; Heun two, but one in the last: 2 N - 1 (arXiv:2206.00364, alg. 1)."""
    count = 0

    class Counted(MixtureOracle):
        def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
            nonlocal count
            count += 1
            assert cond == {"label": 3}
            return super().__call__(x_t, t)

    sample(
        Counted(Gaussian(VP()), WEIGHTS, MEANS[:, None], STDS**2),
        (2, 1),
        sampler=sampler,
        times=Karras()(VP(), 9),
        label=3,
    )
    assert count == calls


TOKENS = TokenOracle(Categorical(LogLinear(), uniform(2)), torch.tensor([[0], [1]]), [0.5, 0.5])


class Sure(GaussianOracle):
    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        return super().__call__(x_t, t).mean_only()


@pytest.mark.each(
    ("make", "message"),
    [
        (lambda: DDIM(eta=1.5), r"ddim needs eta in \[0, 1\], not 1.5"),
        (lambda: DDIM(eta=math.nan), r"ddim needs eta in \[0, 1\], not nan"),
        (lambda: Multistep(order=4), r"multistep has order 1, 2 or 3 and eta in \[0, 1\], not order 4 and eta 0"),
        (lambda: Multistep(eta=-1.0), r"multistep has order 1, 2 or 3 and eta in \[0, 1\], not order 2 and eta -1"),
        (lambda: Euler(churn=-0.1), r"churn is EDM's S_churn / steps, from 0 to sqrt\(2\) - 1"),
        (lambda: Heun(churn=40.0), r"churn is EDM's S_churn / steps, from 0 to sqrt\(2\) - 1"),
        (lambda: Heun(noise=0.0), r"churn is EDM's S_churn / steps, from 0 to sqrt\(2\) - 1"),
        (lambda: Ancestral("large"), "ancestral has no variance 'large'; it has: posterior, beta, exact, learned"),  # type: ignore[arg-type]
        (
            lambda: sample(TOKENS, (1, 1), sampler=Heun()),
            "heun is for values, and Categorical is a process of tokens; samplers for it: ancestral, cached, ddim, ",
        ),
        (
            lambda: sample(TOKENS, (1, 1), sampler=Euler()),
            "euler is for values, and Categorical is a process of tokens",
        ),
        (
            lambda: sample(TOKENS, (1, 1), sampler=Multistep()),
            "multistep is for values, and Categorical is a process of tokens",
        ),
        (
            lambda: sample(TOKENS, (1, 1), sampler=Ancestral("beta")),
            "ancestral with variance = 'beta' is for values, and Categorical is a process of tokens",
        ),
        (
            lambda: sample(Sure(Gaussian(VP())), (1, 1), sampler=Ancestral("exact")),
            "ancestral with variance 'exact' needs a denoiser that reports its variance; use 'posterior' or 'beta'",
        ),
    ],
)
def test_meaningless_samplers_are_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()
