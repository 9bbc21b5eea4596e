"""Controls: their chances by enumeration, the Adagrad steps, the clamp, and the choice among several texts."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.guidance import Clamp, GradientControl
from undiffuse.guidance.controls import Keyword, Length, Pattern
from undiffuse.samplers import DDIM, Ancestral
from undiffuse.sampling.controls import met
from undiffuse.sampling.minimum_bayes_risk import consensus
from undiffuse.schedules import VP

LOG_PROBS = (3 * Random(5).normal((2, 3, 3), dtype=torch.float64)).log_softmax(-1)
ALLOWED = torch.tensor([[True, False, True], [False, True, False]])
EVERY = list(itertools.product(range(3), repeat=3))


@pytest.mark.parametrize(
    ("control", "holds"),
    [
        (Length(2, pad=2), lambda w: w[0] != 2 and w[1] != 2 and w[2] == 2),
        (Length(3, pad=0), lambda w: 0 not in w),
        (Pattern(ALLOWED), lambda w: w[0] in (0, 2) and w[1] == 1),
        (Keyword((1,)), lambda w: 1 in w),
        (Keyword((0, 1, 2)), lambda w: w == (0, 1, 2)),
    ],
    ids=["length", "whole length", "pattern", "keyword", "keyword of three"],
)
def test_a_control_is_the_chance_that_it_is_met(control: Any, holds: Callable[..., bool]):
    """By enumeration of all texts of three tokens; on a certain text it says whether it is met."""
    exact = [
        sum(math.exp(sum(float(row[i, w]) for i, w in enumerate(text))) for text in EVERY if holds(text))
        for row in LOG_PROBS
    ]
    assert control(LOG_PROBS).exp().tolist() == pytest.approx(exact, rel=1e-9)
    assert met(control, torch.tensor(EVERY), 3).tolist() == [holds(text) for text in EVERY]


def test_keywords_that_overlap_count_their_places_as_independent_and_keep_a_slope_where_they_are_rare():
    q = LOG_PROBS.exp()
    pair = q[:, 0, 0] * q[:, 1, 1], q[:, 1, 0] * q[:, 2, 1]
    torch.testing.assert_close(Keyword((0, 1))(LOG_PROBS).exp(), 1 - (1 - pair[0]) * (1 - pair[1]))
    rare = torch.tensor([[[0.0, -400.0], [0.0, -401.0]]], requires_grad=True)
    value = Keyword((1,))(rare)
    assert float(value.detach()) == pytest.approx(-400 + math.log1p(math.exp(-1)))
    (slope,) = torch.autograd.grad(value.sum(), rare)
    assert float(slope[0, 0, 1]) == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-5)


class Wide(Denoiser):
    """N(0, 1) in every element: exact for white data."""

    process = Gaussian(VP())

    def __call__(self, x_t: Tensor, t: Any, **cond: Any) -> Normal:
        alpha, _ = self.process.schedule.at(t, x_t)
        return Normal(alpha.to(x_t) * x_t)


X, TIMES = Random(2).normal((2, 4, 3)), (torch.tensor(0.6).double(), torch.tensor(0.5).double())


def plain() -> Any:
    return Ancestral().step(Wide(), X, *TIMES, random=Random(0))[0]


def controlled(score: Callable[[Tensor, Tensor], Tensor], **how: Any) -> Any:
    return GradientControl(Ancestral(), score, **how).step(Wide(), X, *TIMES, random=Random(0))[0]


def test_without_a_slope_the_step_is_the_inner_samplers():
    belief = controlled(lambda x, s: 0 * x.sum((1, 2)))
    assert torch.equal(belief.mean, plain().mean)
    assert torch.equal(torch.as_tensor(belief.var), torch.as_tensor(plain().var))


def test_one_update_moves_each_sample_by_lr_along_its_slope_and_nothing_else():
    ahead = torch.zeros(4, 3)
    ahead[:, 1] = torch.tensor([3.0, 0.0, 4.0, 0.0])
    belief = controlled(lambda x, s: (x * ahead).sum((1, 2)), updates=1, lr=0.2, floor=0.5)
    moved = belief.mean - plain().mean
    torch.testing.assert_close(moved, (0.2 * 2 * ahead / 5.5).expand(2, 4, 3), rtol=1e-4, atol=1e-6)
    each = controlled(lambda x, s: (x * ahead).sum((1, 2)), updates=1, lr=0.2, floor=1e-9, each="element")
    torch.testing.assert_close(each.mean - plain().mean, (0.2 * ahead.sign()).expand(2, 4, 3), rtol=1e-4, atol=1e-6)


def test_several_updates_are_adagrads_and_fluency_holds_them_back():
    def score(x: Tensor, s: Tensor) -> Tensor:
        return -(x - 5).square().sum((1, 2))

    var, x = torch.as_tensor(plain().var).to(X), plain().mean.clone()
    mean, total = x.clone(), torch.zeros(2, 1, 1)
    for _ in range(3):
        slope = -2 * (x - 5) - 0.3 * (x - mean) / var
        total = total + slope.square().sum((1, 2), keepdim=True)
        x = x + 0.1 * 2 * slope / (total.sqrt() + 0.01)
    torch.testing.assert_close(controlled(score, weight=0.3).mean, x)
    free, held = (float((controlled(score, weight=w).mean - mean).norm()) for w in (0.0, 1e4))
    assert held < 0.5 * free


def test_the_last_step_is_not_moved_and_one_without_variance_is():
    last = (torch.tensor(0.1).double(), torch.tensor(0.0).double())
    push: Any = lambda x, s: x.sum((1, 2))  # noqa: E731
    end = GradientControl(Ancestral(), push).step(Wide(), X, *last, random=Random(0))[0]
    torch.testing.assert_close(end.mean, Ancestral().step(Wide(), X, *last, random=Random(0))[0].mean)
    moved = GradientControl(DDIM(), push).step(Wide(), X, *TIMES, random=Random(0))[0]
    assert bool((moved.mean > DDIM().step(Wide(), X, *TIMES, random=Random(0))[0].mean).all())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"each": "all"}, "sums over each 'sample' or 'element', not 'all'"),
        ({"lr": 0.0}, "needs weight >= 0, updates >= 0, lr > 0 and floor > 0, not 0.01, 3, 0 and 0.01"),
    ],
)
def test_control_without_sense_is_refused(how: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        controlled(lambda x, s: x.sum((1, 2)), **how)


def test_the_clamp_moves_guesses_where_it_should_and_there_only():
    t = torch.tensor([0.1, 0.9])
    levels = (-0.5 * Wide.process.schedule.log_snr(t.double())).exp()
    guess, clamped = Wide()(X, t).mean, Clamp(Wide(), torch.round, (0.0, float(levels.mean())))(X, t).mean
    assert torch.equal(clamped[0], guess[0].round())
    assert torch.equal(clamped[1], guess[1])
    assert torch.equal(Clamp(Wide(), torch.round)(X, 0.9).mean, Wide()(X, 0.9).mean.round())
    assert Clamp(Wide(), torch.round).no_density()


def spelled(*words: str) -> tuple[np.ndarray, np.ndarray]:
    rows = np.zeros((len(words), 7), np.int64)
    for row, word in zip(rows, words, strict=True):
        row[: len(word)] = [ord(letter) for letter in word]
    return rows, np.array([len(word) for word in words])


def test_the_text_that_is_nearest_to_the_others_is_chosen():
    """Mean distances of the first three: 1/2, 1/3 and 1/2; of the others 1, 2/3 and 2/3: the first of equals."""
    rows, _ = spelled("abd", "abc", "xbc", "pq", "rst", "rs")
    assert consensus(rows, of=3, pad=0).tolist() == [1, 4]
    for of in (1, 4):
        with pytest.raises(Refused, match=f"a choice by consensus is of 2 texts or more, .* not 6 by {of}"):
            consensus(rows, of=of)
