"""Constraints: what is ruled out is never drawn, and where places are independent the law is exact."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from token_tables import MASKED, SEQUENCES, agree, chances, oracle

from undiffuse.core.distribution.carried_over import Carried
from undiffuse.core.distribution.mixture import Mixed
from undiffuse.core.distribution.restricted import Restricted
from undiffuse.core.distribution.tokens import Tokens, inverted
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.transition_matrices import towards
from undiffuse.core.process.transitions import Transitions
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.grids.even import Even
from undiffuse.guidance import Constraint, Infill, Truncation
from undiffuse.samplers import DDIM, Ancestral, Cached, FirstHitting, Remask, TokenCorrector, Unmask
from undiffuse.schedules import VP, LogLinear

PLACES = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.5, 0.1, 0.4]], dtype=torch.float64)
APART = torch.stack([PLACES[i, SEQUENCES[:, i]] for i in range(3)]).prod(0)  # independent places
SETS = [{0, 1}, None, [1, 2]]
FITS = (SEQUENCES[:, 0] < 2) & (SEQUENCES[:, 2] > 0)
LAW = torch.where(FITS, APART, 0.0) / APART[FITS].sum()
UNIFORM = Categorical(LogLinear(floor=0.0), uniform(3))
TABLED = LogLinear(floor=0.0, steps=6)
MATRICES = Transitions(TABLED, towards(TABLED, uniform(3)))


def constrained(process: Any, allowed: Any = SETS) -> Constraint:
    return Constraint(TokenOracle(process, SEQUENCES, APART), allowed)


@pytest.mark.parametrize("process", [MASKED, UNIFORM, MATRICES], ids=["mask", "uniform", "matrices"])
def test_of_independent_places_the_steps_have_the_law_given_the_constraint_exactly(process: Any):
    """Enumerated: every state's chance at every step, taken on by the belief's own numbers."""
    size = process.vocabulary
    states = torch.cartesian_prod(*[torch.arange(size)] * 3)
    law, guided = process.prior((len(states), 3)).log_prob(states).exp(), constrained(process)
    for t, s in pairwise(torch.linspace(1, 0, 7, dtype=torch.float64)):
        probs = Ancestral().step(guided, states, t, s, random=Random(0))[0].mean
        law = law @ torch.stack([probs[:, i, states[:, i]] for i in range(3)]).prod(0)
    wanted = (states[:, None] == SEQUENCES).all(-1).double() @ LAW
    torch.testing.assert_close(law, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "sampler",
    [Ancestral(), DDIM(), FirstHitting(), Unmask("random"), Cached(), Remask(0.1), TokenCorrector()],
    ids=repr,
)
def test_every_sampler_draws_from_the_law_given_the_constraint(sampler: Any):
    drawn = sample(constrained(MASKED), (3000, 3), sampler=sampler, times=Even()(LogLinear(), 5))
    assert agree(drawn, LAW)


def test_of_dependent_places_what_is_ruled_out_is_never_drawn_and_the_law_is_the_local_one():
    """One place at a time, in any order: each from the conditionals of the data, cut and normalised."""
    drawn = sample(Constraint(oracle(), [None, None, [0]]), (3000, 3), sampler=FirstHitting())
    assert bool((drawn[:, 2] == 0).all())
    p, law = chances().reshape(3, 3, 3), torch.zeros(3, 3, 3, dtype=torch.float64)
    for first in range(3):
        pair, alone = p.sum(2), p[..., 0] / p[..., 0].sum()
        known = p[..., 0] / p[..., 0].sum(0), p[..., 0] / p[..., 0].sum(1, keepdim=True)
        if first == 2:
            law[..., 0] += alone / 3
        else:
            once = pair.sum(1)[:, None] if first == 0 else pair.sum(0)[None]
            next_free = pair / pair.sum(1 if first == 0 else 0, keepdim=True)
            law[..., 0] += once * (next_free + known[1 - first]) / 6
    assert agree(drawn, law.flatten())
    exact = torch.where(SEQUENCES[:, 2] == 0, chances(), 0.0)
    assert not agree(drawn, exact / exact.sum())


@pytest.mark.parametrize("make", ["tokens", "carried", "mixed"])
def test_a_restricted_guess_is_the_same_however_it_is_asked(make: str, monkeypatch: pytest.MonkeyPatch):
    """Against numbers that are written out; some samples at a time and all at once."""
    raw = Random(3).normal((6, 2, 4), dtype=torch.float64)
    x = torch.tensor([[4, 1], [4, 4], [0, 4]] * 2)
    share = torch.full((6, 2), 0.5, dtype=torch.float64)
    noise = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0], dtype=torch.float64)
    dense = Tokens(torch.cat([raw, torch.full((6, 2, 1), -torch.inf)], -1).log_softmax(-1))
    guess: Any = {
        "tokens": dense,
        "carried": Carried(x, Tokens(raw.log_softmax(-1)), 4, 5),
        "mixed": Mixed(x.clamp(max=3), share, 0.2 * share, noise, 0.8 * share, dense),
    }[make]
    allowed = torch.tensor([[True, False, True, True, False], [False, True, True, False, False]])
    probs = guess.mean * allowed
    wanted = torch.where(probs.sum(-1, keepdim=True) > 0, probs, allowed.double())
    wanted = wanted / wanted.sum(-1, keepdim=True)
    whole = Restricted(guess, allowed, 6)
    drawn = whole.sample(Random(5))
    torch.testing.assert_close(whole.mean, wanted, rtol=0, atol=1e-12)
    assert torch.equal(drawn, inverted(whole.log_probs, Random(5).uniform((6, 2))))
    monkeypatch.setattr("undiffuse.core.distribution.restricted.CHUNK", 1)
    assert torch.equal(whole.sample(Random(5)), drawn)
    assert torch.equal(whole.sample(Random(5), drawn > 1), torch.where(drawn > 1, drawn, 0))
    torch.testing.assert_close(whole.log_each(drawn), wanted.gather(-1, drawn[..., None])[..., 0].log())
    torch.testing.assert_close(whole.rows(slice(2, 5)).mean, wanted[2:5])
    torch.testing.assert_close(whole.mapped(lambda logs: logs).mean, wanted)


def test_booleans_and_sets_say_the_same_and_go_with_other_guidance():
    table = torch.ones(3, 3, dtype=torch.bool)
    table[0, 2] = table[2, 0] = False
    one, other = constrained(MASKED), constrained(MASKED, table)
    assert torch.equal(one.table, other.table)
    assert torch.equal(constrained(UNIFORM, table).table, table)
    x = torch.full((1, 3), 3)
    assert torch.equal(one(x, 0.5).mean, other(x, 0.5).mean)
    assert one.timeless
    assert "constraints of each place" in one.no_density()
    likeliest = sample(Truncation(one, top_k=1), (5, 3), sampler=FirstHitting())
    assert likeliest.tolist() == [[0, 2, 2]] * 5
    known = Infill(one, torch.tensor([[1, 0, 0]]), torch.tensor([True, False, False]))
    drawn = sample(known, (500, 3), sampler=FirstHitting(), start=known.start(x.expand(500, 3)))
    assert set(drawn[:, 0].tolist()) == {1}
    assert set(drawn[:, 2].tolist()) == {1, 2}


def test_constraints_that_make_no_sense_are_refused():
    refusals: list[tuple[Any, str]] = [
        (lambda: constrained(MASKED, [{0}, set(), None]), "no symbol is allowed at place 1: allow one or more"),
        (lambda: constrained(MASKED, [{0}, {3}, None]), r"place 1 is to allow the symbol 3; there are 0 \.\.\. 2"),
        (lambda: constrained(UNIFORM, [{-1}]), r"place 0 is to allow the symbol -1; there are 0 \.\.\. 2"),
        (lambda: constrained(MASKED, torch.ones(3, 5)), r"booleans \(\*shape, 3\), .* these have the shape \(3, 5\)"),
        (lambda: constrained(MASKED, torch.zeros(2, 2, 3)), r"no symbol is allowed at place \(0, 0\)"),
        (
            lambda: constrained(MASKED, [None] * 4)(torch.zeros(2, 3, dtype=torch.long), 0.5),
            r"the constraint is for samples of shape \(4,\), and these have \(3,\)",
        ),
        (lambda: Constraint(GaussianOracle(Gaussian(VP())), [{0}]), "constraint is for tokens, and Gaussian is"),
    ]
    for make, message in refusals:
        with pytest.raises(Refused, match=message):
            make()
