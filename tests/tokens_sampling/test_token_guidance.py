"""Guidance of tokens: tilted chances, classifiers at masks, and sharper guesses, against exact laws."""

from functools import partial
from typing import Any

import pytest
import torch
from token_tables import MASKED, SEQUENCES, agree, chances, oracle
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.carried_over import Carried
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.grids.even import Even
from undiffuse.guidance import Autoguidance, ClassifierFree, Infill, TokenClassifier, Truncation
from undiffuse.guidance.truncation import truncated
from undiffuse.samplers import Ancestral, FirstHitting, Unmask
from undiffuse.schedules import VP, LogLinear

STATES = torch.cartesian_prod(*[torch.arange(4)] * 3)  # with masks, (64, 3)
LABELS = torch.tensor([[0.9, 0.1]] * 9 + [[0.4, 0.6]] * 9 + [[0.2, 0.8]] * 9, dtype=torch.float64)  # p(y given x_0)


def noisy_labels(x_t: Tensor) -> Tensor:
    """log p(y given x_t) of every state, exactly, (batch, 2)."""
    fits = ((x_t[:, None] == SEQUENCES) | (x_t[:, None] == 3)).all(-1).double() * chances()
    return ((fits @ LABELS) / fits.sum(1, keepdim=True)).log()


def classifier(x_t: Tensor, t: Any, label: Tensor) -> Tensor:
    return noisy_labels(x_t).gather(1, label[:, None])[:, 0]


def told(label: int) -> TokenOracle:
    """The exact denoiser of p(x_0 given y)."""
    return TokenOracle(MASKED, SEQUENCES, chances() * LABELS[:, label] / (chances() @ LABELS[:, label]))


def test_a_classifier_at_every_mask_makes_the_exact_conditional_guess():
    for y in (0, 1):
        guided: Any = TokenClassifier(oracle(), classifier)(STATES, 0.6, label=torch.full((64,), y))
        torch.testing.assert_close(guided.mean, told(y)(STATES, 0.6).mean, rtol=0, atol=1e-9)


def test_samples_guided_by_a_classifier_have_the_conditional_law():
    guided = TokenClassifier(oracle(), classifier)
    drawn = sample(guided, (3000, 3), sampler=FirstHitting(), label=torch.ones(3000, dtype=torch.long))
    assert agree(drawn, chances() * LABELS[:, 1] / (chances() @ LABELS[:, 1]))


def test_dropped_samples_and_calls_without_a_label_are_not_guided():
    guided = TokenClassifier(oracle(), classifier, weight=2.0)
    plain = oracle()(STATES, 0.6).mean
    torch.testing.assert_close(guided(STATES, 0.6).mean, plain)
    drop = torch.arange(64) % 2 == 0
    some: Any = guided(STATES, torch.full((64,), 0.6), label=torch.ones(64, dtype=torch.long), drop=drop)
    torch.testing.assert_close(some.mean[drop], plain[drop])
    assert float((some.mean - plain)[~drop].abs().max()) > 0.05


def test_the_first_order_is_exact_for_a_linear_classifier():
    weights = Random(0).normal((3, 4), dtype=torch.float32)
    label = torch.zeros(64, dtype=torch.long)

    def of_tokens(x_t: Tensor, t: Any, label: Tensor) -> Tensor:
        return weights[torch.arange(3), x_t].sum(1)

    def of_floats(x: Tensor, t: Any, label: Tensor) -> Tensor:
        return (weights * x).sum((1, 2))

    exact: Any = TokenClassifier(oracle(), of_tokens, weight=1.5)(STATES, 0.5, label=label)
    first: Any = TokenClassifier(oracle(), of_floats, weight=1.5, form="gradient")(STATES, 0.5, label=label)
    torch.testing.assert_close(first.mean, exact.mean, rtol=1e-5, atol=1e-6)
    assert float((first.mean - oracle()(STATES, 0.5).mean).abs().max()) > 0.1


def test_classifier_free_weights_tilt_the_chances_of_a_token():
    """One token: p(y given x)^w p(x), normalised, is the law that is drawn, for masks and for noise without."""
    given, free = (torch.tensor(p, dtype=torch.float64) for p in ((0.7, 0.2, 0.1), (0.3, 0.3, 0.4)))
    x = torch.arange(3)[:, None]
    process = Categorical(LogLinear(floor=0.0), mask(4))
    guided = ClassifierFree(TokenOracle(process, x, given), TokenOracle(process, x, free), weight=2.0)
    tilted = given**2 / free
    drawn = sample(guided, (6000, 1), sampler=Ancestral(), times=Even()(LogLinear(), 5))
    law = torch.bincount(drawn[:, 0], minlength=3) / 6000
    torch.testing.assert_close(law.double(), tilted / tilted.sum(), rtol=0, atol=0.025)
    one = ClassifierFree(told(1), oracle(), weight=1.0)(STATES, 0.5)
    assert torch.equal(one.mean, told(1)(STATES, 0.5).mean)
    auto: Any = Autoguidance(told(1), oracle(), weight=3.0)(STATES, 0.5)
    logs = 3 * told(1)(STATES, 0.5).log_probs - 2 * oracle()(STATES, 0.5).log_probs
    possible = oracle()(STATES, 0.5).log_probs > -torch.inf
    wanted = torch.where(possible, logs, -torch.inf).softmax(-1)
    torch.testing.assert_close(auto.mean, wanted)


class Fixed(Denoiser):
    """The same chances everywhere."""

    timeless = True

    def __init__(self, process: Any, chances: list[float]) -> None:
        self.process, self.chances = process, torch.tensor(chances, dtype=torch.float64)

    def __call__(self, x_t: Tensor, t: Any, **cond: Any) -> Tokens:
        return Tokens(self.chances.log().expand(*x_t.shape, len(self.chances)))


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1, 0.0]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30, 0.0]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0.0, 0.0, 0.0]),
        ({"top_k": 1}, [1.0, 0.0, 0.0, 0.0, 0.0]),
        ({"top_k": 9}, [0.4, 0.3, 0.2, 0.1, 0.0]),
        ({"top_p": 0.69}, [4 / 7, 3 / 7, 0.0, 0.0, 0.0]),
        ({"top_p": 0.71}, [4 / 9, 3 / 9, 2 / 9, 0.0, 0.0]),
        ({"top_p": 0.01}, [1.0, 0.0, 0.0, 0.0, 0.0]),
        ({"temperature": 0.5, "top_k": 3, "top_p": 0.8}, [16 / 25, 9 / 25, 0.0, 0.0, 0.0]),
    ],
)
def test_truncation_sharpens_as_its_formula_says(how: Any, wanted: list[float]):
    process = Categorical(LogLinear(), mask(5))
    cut = Truncation(Fixed(process, [0.4, 0.3, 0.2, 0.1, 0.0]), **how)
    guess: Any = cut(torch.full((2, 3), 4), 0.5)
    torch.testing.assert_close(
        guess.mean, torch.tensor(wanted, dtype=torch.float64).expand(2, 3, 5), rtol=0, atol=1e-12
    )
    assert cut.timeless
    assert "truncation" in cut.no_density()


def test_truncation_leaves_what_is_revealed():
    x_t = torch.tensor([[0, 3, 1]])
    carried = Carried(x_t, Tokens(torch.tensor([0.5, 0.3, 0.2]).log().expand(1, 3, 3)), 3, 4)
    cut = carried.mapped(partial(truncated, top_k=1)).mean
    torch.testing.assert_close(cut[0], torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0]]))


def test_low_temperatures_find_the_likeliest_sequence_by_confidence():
    drawn = sample(Truncation(oracle(), top_k=1), (50, 3), sampler=Unmask(), steps=3)
    assert len(drawn.unique(dim=0)) == 1


def test_meaningless_guidance_of_tokens_is_refused():
    values, plain = GaussianOracle(Gaussian(VP())), oracle(Categorical(LogLinear(), uniform(3)))
    wide = oracle(Categorical(LogLinear(floor=0.0), mask(5)))
    x = torch.zeros(1, 3, dtype=torch.long)
    refusals: list[tuple[Any, str]] = [
        (lambda: Truncation(plain, temperature=0.0), r"needs temperature > 0, .*not 0, 0 and 1"),
        (lambda: Truncation(plain, top_p=0.0), r"top_p in \(0, 1\], not 1, 0 and 0"),
        (lambda: Truncation(plain, top_k=-1), r"top_k >= 0 \(0: all\)"),
        (lambda: Truncation(values)(torch.zeros(1, 1), 0.5), "truncation is for tokens, and Gaussian is a process of"),
        (
            lambda: TokenClassifier(plain, classifier),
            "token_classifier needs a noise that is a mask, and this noise is none; guidance",
        ),
        (lambda: TokenClassifier(values, classifier), "token_classifier is for tokens, and Gaussian is"),  # type: ignore[arg-type]
        (lambda: TokenClassifier(oracle(), classifier, form="second"), "the forms exact and gradient, not 'second'"),  # type: ignore[arg-type]
        (lambda: ClassifierFree(oracle(), wide, weight=2.0)(x, 0.5), "different vocabularies, of 5 and 4 symbols"),
        (lambda: Autoguidance(oracle(), wide), "different vocabularies, of 5 and 4 symbols"),
        (
            lambda: Infill(values, x, x > 0),
            "infill is for tokens, and Gaussian is a process of values; guidance for it",
        ),
    ]
    for make, message in refusals:
        with pytest.raises(Refused, match=message):
            make()
