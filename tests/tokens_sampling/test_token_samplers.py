"""Samplers of tokens reach the law of a table of sequences, and ask as often as they say."""

from itertools import pairwise
from typing import Any

import pytest
import token_tables as tables
import torch
from token_tables import MASKED, SEQUENCES, agree, chances, distance, oracle
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.categorical import Categorical, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample, trajectory
from undiffuse.grids.even import Even
from undiffuse.guidance import Truncation
from undiffuse.samplers import DDIM, Ancestral, Cached, FirstHitting, Remask, TokenCorrector, Unmask
from undiffuse.schedules import VP, ContinuousCosine, LogLinear


class Counted(Denoiser):
    """An exact denoiser that counts its calls and the samples in them."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.process, self.timeless = inner, inner.process, inner.timeless
        self.calls, self.samples, self.times = 0, 0, []

    def __call__(self, x_t: Tensor, t: Any, **cond: Any) -> Any:
        self.calls, self.samples = self.calls + 1, self.samples + len(x_t)
        self.times.append(torch.as_tensor(t))
        return self.inner(x_t, t)


def final_law(sampler: Any, process: Categorical, times: Tensor) -> Tensor:
    """The exact chance of each sequence at the end, over all states, for steps that are factorised beliefs."""
    size = process.vocabulary
    states = torch.cartesian_prod(*[torch.arange(size)] * tables.LENGTH)
    law, exact = process.prior((len(states), tables.LENGTH)).log_prob(states).exp(), oracle(process)
    for t, s in pairwise(times):
        probs = sampler.step(exact, states, t, s, random=Random(0))[0].mean
        law = law @ torch.stack([probs[:, i, states[:, i]] for i in range(tables.LENGTH)]).prod(0)
    return law


def to_data(law: Tensor, process: Categorical) -> float:
    states = torch.cartesian_prod(*[torch.arange(process.vocabulary)] * tables.LENGTH)
    wanted = (states[:, None] == SEQUENCES).all(-1).double() @ chances()
    return float((law - wanted).abs().sum() / 2)


UNIFORM = Categorical(ContinuousCosine(), uniform(3))


@pytest.mark.parametrize(
    ("sampler", "process"),
    [
        (Ancestral(), MASKED),
        (DDIM(), MASKED),
        (Remask(), MASKED),
        (Remask(0.3, "rescale"), MASKED),
        (Remask(0.1, "cap", (0.2, 0.7)), MASKED),
        (Ancestral(), UNIFORM),
        (DDIM(), UNIFORM),
        (DDIM(1.0), UNIFORM),
    ],
    ids=repr,
)
def test_the_law_of_the_data_is_reached_as_one_over_the_steps(sampler: Any, process: Categorical):
    far, near = (to_data(final_law(sampler, process, Even()(process.schedule, n)), process) for n in (12, 48))
    assert near < (0.5 if isinstance(sampler, Remask) else 0.4) * far  # its rate does not fall with the step
    assert near < 0.06


def test_ddim_and_ancestral_share_every_marginal_and_differ_for_noise_without_a_mask():
    """For one token, whose guess is exact, after any step of a coarse grid."""
    data = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    for noise in (uniform(3), (0.5, 0.25, 0.25)):
        process = Categorical(LogLinear(floor=0.0), noise)
        exact = tables.TokenOracle(process, torch.arange(3)[:, None], data)
        states, moves = torch.arange(3)[:, None], {}
        for sampler in (Ancestral(), DDIM(), DDIM(0.5)):
            law = torch.tensor(noise, dtype=torch.float64)
            for t, s in pairwise(Even()(process.schedule, 4)):
                step: Any = sampler.step(exact, states, t, s, random=Random(0))[0].mean[:, 0]
                law = law @ step
                wanted = (1 - s) * data + s * torch.tensor(noise, dtype=torch.float64)
                torch.testing.assert_close(law, wanted, rtol=0, atol=1e-12)
                moves[sampler, float(s)] = step
        assert float((moves[Ancestral(), 0.5] - moves[DDIM(), 0.5]).abs().max()) > 0.05


@pytest.mark.parametrize("rule", ["cap", "rescale"])
def test_remask_keeps_the_marginals_whatever_its_rate(rule: Any):
    """q(x_s given x_0) for a guess that knows x_0: alpha_s, and the rest masked."""
    known = tables.TokenOracle(MASKED, torch.tensor([[1]]), [1.0])
    states = torch.tensor([[1], [3]])
    for rate in (0.0, 0.05, 0.6, 1.0):
        for t, s in ((1.0, 0.9), (0.8, 0.5), (0.3, 0.1), (0.4, 0.0)):
            belief: Any = Remask(rate, rule).step(known, states, torch.tensor(t), torch.tensor(s), random=Random(0))[0]
            at_s = torch.tensor([1 - t, t], dtype=torch.float64) @ belief.mean[:, 0]
            torch.testing.assert_close(at_s[[1, 3]], torch.tensor([1 - s, s]).double(), rtol=0, atol=1e-7)
    step: Any = Remask(0.0).step(known, states, torch.tensor(0.8), torch.tensor(0.5), random=Random(0))[0]
    plain: Any = Ancestral().step(known, states, torch.tensor(0.8), torch.tensor(0.5), random=Random(0))[0]
    torch.testing.assert_close(step.mean, plain.mean, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("sampler", "steps"),
    [(FirstHitting(), 1), (FirstHitting(), 3), (Unmask("random"), 3), (Unmask("random"), 20)],
    ids=repr,
)
def test_one_token_at_a_time_is_exact(sampler: Any, steps: int):
    for schedule in (LogLinear(), ContinuousCosine()):
        exact = oracle(Categorical(schedule, MASKED.noise))
        grid = Even()(schedule, steps) if isinstance(sampler, FirstHitting) else Even()(LogLinear(), steps)
        plan = MASKED if isinstance(sampler, Unmask) else exact.process
        drawn = sample(oracle(plan), (4000, 3), sampler=sampler, times=grid, seed=steps)
        assert agree(drawn, chances())


def test_first_hitting_asks_once_a_token_at_the_times_of_the_process():
    """The k-th of L reveals has the law of the k-th largest of L uniform numbers, mean (L + 1 - k)/(L + 1)."""
    counted = Counted(oracle())
    sample(counted, (4000, 3), sampler=FirstHitting())
    assert counted.calls == 3
    means = [float(t.mean()) for t in counted.times]
    assert means == pytest.approx([0.75, 0.5, 0.25], abs=0.015)
    assert all(bool((a > b).all()) for a, b in pairwise(counted.times))
    *_, last = (
        x
        for x in trajectory(
            oracle(), FirstHitting(), torch.full((4000, 3), 3), Even()(LogLinear(), 4)[:3], random=Random(0)
        )
    )
    left = torch.bincount((last == 3).sum(1), minlength=4) / 4000
    assert left.tolist() == pytest.approx([1 / 8, 3 / 8, 3 / 8, 1 / 8], abs=0.03)  # masks left at t = 1/2


def test_unmask_reveals_as_many_as_the_schedule_says_and_the_surest_first():
    class Sure(Denoiser):
        process = MASKED

        def __call__(self, x_t: Tensor, t: Any, **cond: Any) -> Any:
            assert x_t.shape == (2, 8)
            first = torch.linspace(0.95, 0.5, 8, dtype=torch.float64)
            probs = torch.stack([first, 1 - first, 0 * first, 0 * first], -1)
            return tables.tokens(probs.expand(2, 8, 4))

    for order in ("confidence", "margin"):
        sampler = Unmask(order)  # type: ignore[arg-type]
        states = list(trajectory(Sure(), sampler, torch.full((2, 8), 3), Even()(LogLinear(), 5), random=Random(0)))
        assert [int((x == 3).sum(1)[0]) for x in states] == [6, 4, 3, 1, 0]
        if order == "margin":
            assert (states[0] != 3).tolist() == [[True, True] + [False] * 6] * 2
            assert (states[3] != 3).tolist() == [[True] * 7 + [False]] * 2
    noisy = list(
        trajectory(Sure(), Unmask("margin", 50.0), torch.full((2, 8), 3), Even()(LogLinear(), 5), random=Random(0))
    )
    assert (noisy[0] != 3).tolist() != [[True, True] + [False] * 6] * 2


@pytest.mark.parametrize("process", [MASKED, Categorical(LogLinear(floor=0.0), uniform(3))], ids=["mask", "uniform"])
def test_correcting_brings_a_coarse_run_closer_to_the_data(process: Categorical):
    """Three tokens that depend on one another, in three steps: corrections mend what independent draws broke."""

    def run(sampler: Any) -> float:
        return distance(
            sample(oracle(process), (3000, 3), sampler=sampler, times=torch.tensor([1.0, 0.5, 0.1, 0.0])), chances()
        )

    plain, corrected = run(Ancestral()), run(TokenCorrector(corrections=8, share=0.3))
    assert plain > 0.09
    assert corrected < 0.7 * plain


def test_a_token_corrected_alone_leaves_the_law_as_it_is():
    """One token: any share is exact at any level, and so is the whole run."""
    for noise in (uniform(3), (0.2, 0.3, 0.5)):
        process, data = Categorical(LogLinear(floor=0.0), noise), torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
        exact, x = tables.TokenOracle(process, torch.arange(3)[:, None], data), torch.arange(3)[:, None]
        law = process.marginal(x, 0.4).mean[:, 0].T @ data
        again = process.bridge(x, exact(x, 0.4), 0.4, 0.4, torch.tensor(0.3)).mean[:, 0]
        torch.testing.assert_close(law @ again, law, rtol=0, atol=1e-12)


@pytest.mark.parametrize("inner", [Ancestral(), DDIM(), Remask(0.05), Unmask(), "ancestral"], ids=repr)
def test_cached_draws_the_same_with_fewer_calls(inner: Any):
    counted, plain = Counted(oracle()), Counted(oracle())
    times = Even()(LogLinear(), 40)
    cached = sample(counted, (5, 3), sampler=Cached(inner), times=times, seed=1)
    assert torch.equal(
        cached, sample(plain, (5, 3), sampler=Ancestral() if inner == "ancestral" else inner, times=times, seed=1)
    )
    assert counted.samples <= plain.samples
    if not isinstance(inner, Remask | Unmask):
        assert plain.samples == 200
        assert counted.samples <= 5 * 4  # at the start, and once after each token of each sample
    assert not Cached(inner).grid
    assert torch.equal(
        sample(Counted(Truncation(oracle())), (5, 3), sampler=Cached(inner), times=times, seed=1), cached
    )


VALUES, PLAIN = GaussianOracle(Gaussian(VP())), oracle(Categorical(LogLinear(), uniform(3)))


@pytest.mark.each(
    ("make", "message"),
    [
        (
            lambda: sample(PLAIN, (1, 3), sampler=Unmask()),
            "unmask needs a noise that is a mask, and this noise is none; samplers for it: a",
        ),
        (
            lambda: sample(PLAIN, (1, 3), sampler=Remask()),
            "remask needs a noise that is a mask, and this noise is none",
        ),
        (
            lambda: sample(PLAIN, (1, 3), sampler=FirstHitting()),
            "first_hitting needs a noise that is a mask, and this noise is none",
        ),
        (
            lambda: sample(PLAIN, (1, 3), sampler=Cached()),
            "cached needs a denoiser that does not hear the time: its guess",
        ),
        *[
            (
                lambda sampler=sampler: sample(VALUES, (1, 1), sampler=sampler, steps=2),
                "is for tokens, and Gaussian is a process of values; samplers for it: adams, ",
            )
            for sampler in (Unmask(), Remask(), FirstHitting(), TokenCorrector(), Cached())
        ],
        (lambda: Unmask("left"), "unmask has order confidence, margin, random and randomness >= 0, not 'left' and 0"),  # type: ignore[arg-type]
        (lambda: Unmask(randomness=-1), "unmask has order .*, not 'confidence' and -1"),
        (lambda: Remask(2.0), r"remask has rule cap or rescale and a rate in \[0, 1\], not 'cap' and 2"),
        (lambda: Remask(rule="loop"), r"remask has rule cap or rescale and a rate in \[0, 1\], not 'loop' and 0.02"),  # type: ignore[arg-type]
        (lambda: Remask(during=(0.5, 0.2)), r"remask needs during = \(low, high\] .* not 0.5 and 0.2"),
        (lambda: TokenCorrector(corrections=0), r"corrections >= 1 and a share in \(0, 1\], not 0 and 0.1"),
        (lambda: TokenCorrector(share=1.5), r"corrections >= 1 and a share in \(0, 1\], not 1 and 1.5"),
    ],
)
def test_meaningless_samplers_of_tokens_are_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()
