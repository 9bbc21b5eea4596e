"""The bridge of tokens as a mixture that is never written out: its law, its draws, and what they cost."""

import math
from typing import Any

import pytest
import torch
from scipy import stats

from undiffuse.core.distribution.mixture import Mixed
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.errors import Refused
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.random import Random
from undiffuse.schedules import LogLinear

NOISES = {
    "uniform": uniform(4),
    "mask": mask(4),
    "arbitrary": (0.1, 0.2, 0.3, 0.4),
    "with a hole": (0.5, 0.0, 0.0, 0.5),
}


def beliefs(noise: tuple[float, ...]) -> list[Mixed]:
    """Marginal, bridges by keep and by Bayes, and a bridge at a certain guess: each over every x_t, (4, 1)."""
    process = Categorical(LogLinear(), noise)
    x_t = torch.arange(4)[:, None]
    guess = Tokens(Random(0).normal((4, 1, 4), dtype=torch.float64).log_softmax(-1))
    s, t = 0.3, 0.8
    keep = process.keep(s, t, x_t, 0.4)
    return [
        process.marginal(x_t, t),
        process.bridge(x_t, guess, s, t, keep),
        process.bridge(x_t, guess, s, t),
        process.bridge(x_t, process.point(x_t), s, t),
        process.bridge(x_t, guess, 0.0, t),
    ]


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
def test_draws_follow_what_is_written_out(noise: tuple[float, ...]):
    for belief in beliefs(noise):
        law = belief.mean[:, 0]
        torch.testing.assert_close(law.sum(-1), torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-12)
        count = 4000
        many: Any = repeated(belief, count)
        drawn = many.sample(Random(1)).reshape(4, count)
        for row, wanted in zip(drawn, law, strict=True):
            found, possible = torch.bincount(row, minlength=4).double(), wanted > 1e-12
            assert found[~possible].sum() == 0
            if int(possible.sum()) > 1:
                wanted = wanted[possible] / wanted[possible].sum() * count
                assert stats.chisquare(found[possible].numpy(), wanted.numpy()).pvalue > 1e-4


def repeated(belief: Mixed, count: int) -> Mixed:
    """The same belief for each of (4, count) tokens."""
    guess = None if belief.guess is None else Tokens(belief.guess.log_probs.expand(4, count, 4))
    return Mixed(belief.here.expand(4, count), belief.keep, belief.fresh, belief.noise, belief.pull, guess)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
def test_log_probabilities_of_tokens_are_those_written_out(noise: tuple[float, ...]):
    for belief in beliefs(noise):
        written = Tokens(belief.log_probs)
        for token in range(4):
            x = torch.full((4, 1), token)
            torch.testing.assert_close(belief.log_prob(x), written.log_prob(x), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(belief.rows(slice(1, 3)).log_prob(x[1:3]), written.log_prob(x)[1:3])
        torch.testing.assert_close(belief.blend(written, 3.0).mean, belief.mean, rtol=0, atol=1e-12)
        assert float(belief.kl(written).abs().max()) == pytest.approx(0, abs=1e-12)
        assert torch.equal(belief.mapped(lambda logs: logs).mean, written.mean)


def test_only_asked_places_are_drawn_and_as_they_would_be_without_the_others():
    for belief in beliefs(uniform(4)):
        whole, where = belief.sample(Random(3)), torch.tensor([[True], [False], [True], [False]])
        assert torch.equal(belief.sample(Random(3), where), torch.where(where, whole, 0))
        order = torch.tensor([2, 3])
        assert torch.equal(belief.rows(slice(2, 4)).sample(Random(3, order)), whole[2:])


class Asked(Tokens):
    """Says how many places it was asked about."""

    places = 0

    def sample(self, random: Random, where: Any = None) -> torch.Tensor:
        type(self).places += int(where.sum())
        return super().sample(random, where)


def test_the_guess_is_asked_only_where_a_mask_is_revealed():
    """From t = 0.8 to 0.7 an eighth of the masks, and no token that is no mask."""
    process, length = Categorical(LogLinear(floor=0.0), mask(5)), 4000
    x_t = torch.full((1, length), 4)
    x_t[:, ::2] = 1
    guess = Asked(torch.tensor([0.25, 0.75, 0, 0, 0]).log().expand(1, length, 5))
    x_s = process.bridge(x_t, guess, 0.7, 0.8).sample(Random(0))
    revealed = int((x_s != x_t).sum())
    assert Asked.places == revealed
    assert revealed == pytest.approx(length / 2 / 8, abs=4 * math.sqrt(length / 2 / 8))


def test_drawing_does_not_lower_the_entropy_of_a_large_vocabulary():
    """The mean of -log p over draws is the entropy, within four standard errors, from log-probabilities in float32;
    and with chance 1e-3 of a step to be revealed, so that the tail of a uniform number decides.
    """
    size, length = 50_000, 800
    log_probs = (-1.1 * torch.arange(1, size + 1).float().log()).log_softmax(-1)
    probs = log_probs.double().exp()
    entropy = -(probs * log_probs.double()).sum()
    spread = ((probs * log_probs.double() ** 2).sum() - entropy**2).sqrt()
    drawn = Tokens(log_probs.expand(1, length, size)).sample(Random(0))
    surprise = -log_probs.double()[drawn].mean()
    assert float((surprise - entropy) / (spread / math.sqrt(length))) == pytest.approx(0, abs=4)
    process = Categorical(LogLinear(floor=0.0), mask(size + 1))
    guess = Tokens(torch.cat([log_probs, torch.tensor([-torch.inf])]).expand(160, length, size + 1))
    x_s = process.bridge(torch.full((160, length), size), guess, 0.4995, 0.5).sample(Random(1))
    revealed = x_s[x_s != size]
    assert len(revealed) == pytest.approx(128, abs=4 * math.sqrt(128))
    surprise = -log_probs.double()[revealed].mean()
    assert float((surprise - entropy) / (spread / math.sqrt(len(revealed)))) == pytest.approx(0, abs=4)


def test_guesses_over_other_vocabularies_are_refused():
    a, b = (Tokens(torch.zeros(1, 2, size).log_softmax(-1)) for size in (27, 28))
    with pytest.raises(Refused, match="two guesses over different vocabularies, of 27 and 28 symbols, cannot be mixed"):
        a.blend(b, 2.0)
